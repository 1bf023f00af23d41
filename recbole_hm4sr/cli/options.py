"""What the commands share: reading the user's words, and the console."""

import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from recbole_hm4sr.base.errors import ConfigError

# Any setting is a flag: what a command does not know itself is left to parse_overrides.
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}
# Of the processes that torchrun starts, the first speaks for all.
SPEAKS = os.environ.get("RANK", "0") == "0"
# No markup: names of users' files and items may hold brackets.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False, quiet=not SPEAKS)

# Notes beside what a command prints for another program.
notes = Console(
    highlight=False, soft_wrap=True, markup=False, emoji=False, quiet=not SPEAKS, stderr=True
)


def parse_list(text: str) -> list[Any]:
    """The parts of ``a,b,c``, numbers as numbers."""
    from recbole_hm4sr.config.compose import parse_value

    return [parse_value(part) for part in text.split(",") if part.strip()]


def names_of(text: str) -> list[str]:
    """The names in ``a,b,c``."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Settings from flags: ``--name=value``, or ``--name value``.

    Raises:
        ConfigError: If a word is no flag, a flag has no value, or a name is given twice.
    """
    from recbole_hm4sr.config.compose import parse_value

    settings: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise ConfigError(f"a flag must have the form --name=value, got {word!r}")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"the flag --{name} must have a value, as in --{name}=...")
            text = rest.pop(0)
        if name in settings:
            raise ConfigError(f"the flag --{name} must be given once")
        try:
            settings[name] = parse_value(text)
        except ConfigError as error:
            raise ConfigError(
                f"--{name}: {error}; in a shell it needs quotes around it: '--{name}=...'"
            ) from error
    return settings
