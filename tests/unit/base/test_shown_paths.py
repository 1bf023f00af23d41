"""What a page shows of a command and of paths can be given to others."""

from pathlib import Path

import pytest

from recbole_hm4sr.base.shown_paths import command_line, shortened


@pytest.fixture(autouse=True)
def folders(monkeypatch):
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/ann/work"))
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("data_path: /home/ann/work/data\n", "data_path: data\n"),
        ("data_path: /home/ann/work\n", "data_path: .\n"),
        ("data_path: /home/ann/data", "data_path: ~/data"),
        ("{data_path: '/home/ann/work/my data', seed: 1}", "{data_path: 'my data', seed: 1}"),
        ("data_path: /home/ann", "data_path: ~"),
        ("data_path: /srv/shop", "data_path: /srv/shop"),
        ("data_path: /home/anna/data", "data_path: /home/anna/data"),  # somebody else
        ("data_path: /home/ann/work2/data", "data_path: ~/work2/data"),  # not below the folder
        ("data_path: /mnt/home/ann/data", "data_path: /mnt/home/ann/data"),
    ],
)
def test_a_path_is_shown_from_the_working_folder_or_the_home(text, short):
    assert shortened(text) == short


def test_in_the_root_directory_paths_stay_whole(monkeypatch):
    monkeypatch.setattr(Path, "cwd", lambda: Path("/"))
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert shortened("data_path: /srv/shop") == "data_path: /srv/shop"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["/home/ann/.venvs/x/bin/hm4sr", "train", "--epochs=2"], "hm4sr train --epochs=2"),
        (["C:/x/hm4sr.exe", "train"], "hm4sr train"),
        (
            ["/opt/lib/recbole_hm4sr/__main__.py", "train", "--run_dir=/home/ann/work/runs/a"],
            "python -m recbole_hm4sr train --run_dir=runs/a",
        ),
        (["run_hm4sr.py", "--seed=1"], "python run_hm4sr.py --seed=1"),
        (["/home/ann/work/mine.py"], "python mine.py"),
        (
            ["hm4sr", "train", "--eval_args={split: {TS: [8, 1, 1]}}", "--data_path=/home/ann/d"],
            "hm4sr train '--eval_args={split: {TS: [8, 1, 1]}}' --data_path=~/d",
        ),
    ],
)
def test_a_command_is_what_its_user_typed(words, line):
    assert command_line(words) == line
