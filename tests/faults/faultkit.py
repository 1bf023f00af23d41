"""A sound place to break: one row of a table says how, with which command, and what must be said.

Every row runs a real command on its own copy of a data set and a finished run. What a row may
expect: exit code 2, one line on stderr that its pattern matches, and no file changed.
"""

import hashlib
import re
import shutil
import signal
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from datafiles import NEW_YEAR, walks, write_lines

from recbole_hm4sr import cli
from recbole_hm4sr.data.features import ItemFeatures, save_features

# Only an endless loop needs so many seconds, however busy the machine.
PATIENCE = 600
TINY = [
    "--epochs=1",
    "--hidden_size=8",
    "--inner_size=8",
    "--n_layers=1",
    "--n_interactive_experts=2",
    "--n_temporal_experts=2",
    "--train_batch_size=8",
    "--MAX_ITEM_LIST_LENGTH=6",
]
DATA = ["--dataset=toy", "--data_path=data"]
TRAIN = ["train", *DATA, "--run_dir=run", *TINY]
CHECK = ["check", *DATA]
RESUME = ["train", "--resume=done"]
EVALUATE = ["evaluate", "--run=done"]
ITEMS = [f"i{n}" for n in range(7)]


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        name: What is broken.
        command: Words of the command line, in the place's folder.
        says: Pattern that must be found in the message.
        spoil: Breaks the place; given its folder.
        unfinished: Whether the command may leave its hidden folder of unfinished work.
    """

    name: str
    command: list[str]
    says: str
    spoil: Callable[[Path], object] = lambda place: None
    unfinished: bool = False


def make_place(place: Path) -> Path:
    """A data set that trains, with a modality, categories and settings, and a run of it."""
    folder = place / "data" / "toy"
    folder.mkdir(parents=True)
    write_lines(
        folder / "toy.inter", "user_id:token\titem_id:token\ttimestamp:float", walks([7, 6, 5, 4])
    )
    rows = [(item, f"Title {item}", f"kind{n % 2} all") for n, item in enumerate(ITEMS)]
    header = "item_id:token\ttitle:token_seq\tcategories:token_seq"
    write_lines(folder / "toy.item", header, rows)
    values = np.arange(21, dtype=np.float32).reshape(7, 3) / 10
    features = ItemFeatures(np.array(ITEMS), values, "test", "1", "")
    save_features(folder / "toy.text.npz", features)
    settings = "modalities: {text: npz}\ncategory_field: categories\ngenerated: true\n"
    (folder / "toy.yaml").write_text(settings)
    return place


def train_in(place: Path, monkeypatch) -> None:
    """The run that ``--resume`` and ``evaluate`` rows break."""
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit, match="0"):
        cli.main([word.replace("--run_dir=run", "--run_dir=done") for word in TRAIN])


def copy_place(template: Path, place: Path) -> Path:
    """A copy whose run reads the copy's data."""
    shutil.copytree(template, place)
    config = place / "done" / "config.yaml"
    config.write_text(config.read_text().replace(str(template), str(place)))
    return place


def snapshot(place: Path) -> dict[str, str]:
    """Every file's hash and every folder, by path."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_file() and not path.is_symlink():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "link" if path.is_symlink() else "folder"
    return found


@contextmanager
def patience(seconds: int = PATIENCE):
    """Fail instead of hanging."""

    def stop(*_):
        raise TimeoutError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def assert_refused(fault: Fault, place: Path, capsys) -> None:
    """Run a row's command and hold it to the contract."""
    fault.spoil(place)
    before = snapshot(place)
    capsys.readouterr()
    with patience(), pytest.raises(SystemExit, match=r"\d") as stop:
        cli.main(fault.command)
    printed = capsys.readouterr()
    if fault.command[0] == "check" and not printed.err:
        # It lists all problems on its page, so they are its output.
        lines = [line for line in printed.out.splitlines() if "error:" in line]
        assert re.search(fault.says, printed.out), printed.out
        assert lines, printed.out
    else:
        lines = printed.err.strip().splitlines()
        assert len(lines) == 1, printed.err
        assert lines[0].startswith("error: "), printed.err
        assert re.search(fault.says, lines[0]), printed.err
    assert stop.value.code == 2
    after = snapshot(place)
    if fault.unfinished:
        after = {name: mark for name, mark in after.items() if ".unfinished" not in name}
    assert after == before


def replace(name: str, old: str, new: str) -> Callable[[Path], object]:
    """Put a text in the place of another one in a file of the data set."""

    def spoil(place: Path) -> None:
        path = place / "data" / "toy" / name
        text = path.read_bytes().decode()
        assert old in text
        path.write_bytes(text.replace(old, new, 1).encode())

    return spoil


def put(name: str, content: bytes | str) -> Callable[[Path], object]:
    """Put a whole file; the name is below the place's folder."""
    content = content if isinstance(content, bytes) else content.encode()

    def spoil(place: Path) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)

    return spoil


def remove(name: str) -> Callable[[Path], object]:
    return lambda place: (place / name).unlink()


FIRST_TIME = str(NEW_YEAR)
