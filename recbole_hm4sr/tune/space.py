"""Search spaces in RecBole's ``.hyper`` grammar, read without running any code in them.

A line is ``<setting> <kind> <values>``. The kinds are RecBole's: ``choice [a, b]``,
``uniform low,high``, ``quniform low,high,step`` and ``loguniform low,high``, whose bounds are
natural logarithms. Blank lines may stand between, and comments after ``#``.

Differs from RecBole: it evaluates what follows ``choice`` as code, and leaves out without a word
any line of less than three parts.
"""

import ast
import dataclasses
import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.text_files import read_text
from recbole_hm4sr.config.compose import properties_dir

Kind: TypeAlias = Literal["choice", "uniform", "quniform", "loguniform"]
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "uniform": ("low", "high"),
    "quniform": ("low", "high", "step"),
    "loguniform": ("low", "high"),
}


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One setting that is searched.

    Attributes:
        name: The setting.
        kind: How its values are drawn.
        options: The values of a choice.
        low: Lower bound of a number; of its natural logarithm if ``kind`` is ``loguniform``.
        high: Upper bound, likewise.
        step: What the values of a ``quniform`` are multiples of; 0 for the other kinds.
        line: Its line in the file, from 1.
    """

    name: str
    kind: Kind
    options: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    line: int = 0

    @property
    def grid(self) -> tuple[Any, ...] | None:
        """All its values; None if they are not finite in number."""
        if self.kind == "choice":
            return self.options
        if self.kind == "quniform":
            first, last = round(self.low / self.step), round(self.high / self.step)
            return tuple(self.whole(number * self.step) for number in range(first, last + 1))
        return None

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value of a number."""
        if self.kind == "loguniform":
            return math.exp(self.low), math.exp(self.high)
        grid = self.grid
        return (grid[0], grid[-1]) if grid else (self.low, self.high)

    def value(self, drawn: Any) -> Any:
        """The setting's value for what a search engine has drawn.

        Args:
            drawn: The number of an option, from 0, or a number between the bounds.
        """
        if self.kind == "choice":
            return self.options[int(drawn)]
        if self.kind == "quniform":
            return self.whole(round(float(drawn) / self.step) * self.step)
        return float(drawn)

    def drawn(self, value: Any) -> Any:
        """What an engine has drawn when the setting has this value; opposite of :meth:`value`."""
        if self.kind != "choice":
            return float(value)
        # As text, since True equals 1.
        return [same_text(option) for option in self.options].index(same_text(value))

    def whole(self, number: float) -> int | float:
        """A multiple of the step: a whole number if the step and the bounds are."""
        if all(float(part).is_integer() for part in (self.low, self.high, self.step)):
            return round(number)
        return float(f"{number:.12g}")  # 3 * 0.1 is 0.30000000000000004

    def samples(self) -> tuple[Any, ...]:
        """Values that stand for all when the space is checked: options, or the two bounds."""
        return self.options if self.kind == "choice" else self.bounds


@dataclasses.dataclass(frozen=True)
class Space:
    """The settings that are searched.

    Attributes:
        path: The file.
        dimensions: In the file's order.
    """

    path: Path
    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> list[str]:
        """Names of the settings."""
        return [dimension.name for dimension in self.dimensions]

    @property
    def size(self) -> int | None:
        """Number of all combinations; None if a setting has no finite number of values."""
        sizes = [
            None if dimension.grid is None else len(dimension.grid) for dimension in self.dimensions
        ]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def settings(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Settings for what an engine has drawn, by name."""
        return {
            dimension.name: dimension.value(drawn[dimension.name]) for dimension in self.dimensions
        }

    def drawn(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What an engine has drawn, by name, when these are the settings."""
        return {
            dimension.name: dimension.drawn(settings[dimension.name])
            for dimension in self.dimensions
        }

    def describe(self) -> list[list[Any]]:
        """The dimensions as plain values: two spaces are one space if these are equal."""
        return [
            [dim.name, dim.kind, list(dim.options), dim.low, dim.high, dim.step]
            for dim in self.dimensions
        ]


def same_text(value: Any) -> str:
    """A value as text that is the same for the same values only."""
    return json.dumps(value, sort_keys=True)


def find_space(name: str | Path | None, model: str) -> Path:
    """A file of a space by its path, by its name in ``properties/tune``, or the model's own.

    Raises:
        ConfigError: If there is none.
    """
    known = properties_dir() / "tune"
    if name is None:
        own = known / f"{model}.hyper"
        if own.is_file():
            return own
        raise ConfigError(
            f"--params must name a .hyper file, since {model} has none of its own in {known}"
        )
    path = Path(name)
    if path.is_file():
        return path
    names = sorted(file.relative_to(known).as_posix() for file in known.rglob("*.hyper"))
    names = [name.removesuffix(".hyper") for name in names]
    asked = path.relative_to("properties/tune") if path.is_relative_to("properties/tune") else path
    if (stem := str(asked).removesuffix(".hyper")) in names:
        return known / f"{stem}.hyper"
    raise ConfigError(
        f"--params must be a .hyper file or one of {', '.join(names)}, got {str(name)!r}"
    )


def read_space(path: Path) -> Space:
    """A space from a ``.hyper`` file.

    Raises:
        ConfigError: If it cannot be read, or lines of it are wrong; one error for all.
    """
    lines = read_text(path, "the search space", ConfigError).splitlines()
    dimensions: dict[str, Dimension] = {}
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            dimension = _dimension(line, number)
            if dimension.name in dimensions:
                first = dimensions[dimension.name].line
                raise ConfigError(f"{dimension.name} must stand once, but is in line {first} too")
            dimensions[dimension.name] = dimension
        except ConfigError as error:
            found.append(f"{path}, line {number}: {error}")
    if found:
        raise ConfigError("; ".join(found))
    if not dimensions:
        raise ConfigError(f"the search space {path} must hold at least one line, got none")
    return Space(path, tuple(dimensions.values()))


def _dimension(line: str, number: int) -> Dimension:
    parts = line.split(maxsplit=2)
    if len(parts) < 3:
        raise ConfigError(f"must have the form <setting> <kind> <values>, got {line.strip()!r}")
    name, kind, text = parts
    if kind == "choice":
        return Dimension(name, "choice", options=_options(name, text), line=number)
    if kind not in _NUMBERS:
        kinds = ["choice", *_NUMBERS]
        near = difflib.get_close_matches(kind, kinds, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"the kind must be one of {', '.join(kinds)}, got {kind!r}{hint}")
    return _number(name, kind, text, number)


def _options(name: str, text: str) -> tuple[Any, ...]:
    rule = f"the values of {name} must be a list such as [0.1, 0.2] or ['gelu', 'relu'], got {text}"
    try:
        values = ast.literal_eval(text.strip())
        # Tuples become lists, and what JSON and YAML cannot hold is refused.
        options = json.loads(json.dumps(values, allow_nan=False))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ConfigError(rule) from error
    if not isinstance(values, (list, tuple)) or not options:
        raise ConfigError(rule)
    texts = [same_text(option) for option in options]
    if twice := [text for text in texts if texts.count(text) > 1]:
        raise ConfigError(f"the values of {name} must differ, got {twice[0]} twice")
    return tuple(options)


def _number(name: str, kind: str, text: str, line: int) -> Dimension:
    low, high, *rest = _finite_numbers(name, kind, text)
    if low >= high:
        raise ConfigError(f"{kind} of {name} must go from low to high, got {text!r}")
    step = rest[0] if rest else 0.0
    if rest and (step <= 0 or step > high - low):
        raise ConfigError(f"the step of {name} must be above 0 and fit between, got {step:g}")
    if kind == "loguniform" and high > 700:
        raise ConfigError(
            f"loguniform of {name} must have natural logarithms as bounds, got {text!r}"
        )
    return Dimension(name, kind, low=low, high=high, step=step, line=line)  # type: ignore[arg-type]


def _finite_numbers(name: str, kind: str, text: str) -> list[float]:
    names = _NUMBERS[kind]
    rule = f"{kind} of {name} must have the form {','.join(names)}, got {text!r}"
    try:
        values = [float(part) for part in text.split("#")[0].split(",")]
    except ValueError as error:
        raise ConfigError(rule) from error
    if len(values) != len(names) or not all(map(math.isfinite, values)):
        raise ConfigError(rule)
    return values
