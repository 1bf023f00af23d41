"""Commands and paths in a page that is given to others: without the folders of its writer."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

# A path begins behind a blank, a quotation mark, an equals sign and the like, not within another.
_BEFORE = r"(?<![\w./\\~-])"
_AFTER = r"(?![\w.-])"


def shortened(text: str) -> str:
    """A text with its paths from the working folder, else from the home directory, ``~``.

    Paths elsewhere stay whole.

    Args:
        text: Any, as a command or a file of settings.
    """
    for folder, short in ((Path.cwd(), "."), (Path.home(), "~")):
        if folder == Path(folder.anchor):  # every path is below it
            continue
        path = _BEFORE + re.escape(str(folder))
        below = "" if short == "." else f"{short}/"
        text = re.sub(rf"{path}[/\\](?=[^\s'\"])", below, text)
        text = re.sub(rf"{path}[/\\]?{_AFTER}", short, text)
    return text


def command_line(words: Sequence[str]) -> str:
    """The words of a process as a shell takes them, with short paths.

    Args:
        words: As ``sys.argv``. The scripts of this package are called as users call them.
    """
    program = Path(words[0])
    first = ["python", str(program)]
    if program.stem == "hm4sr":
        first = ["hm4sr"]
    elif (program.parent.name, program.name) == ("recbole_hm4sr", "__main__.py"):
        first = ["python", "-m", "recbole_hm4sr"]
    return shortened(shlex.join([*first, *words[1:]]))
