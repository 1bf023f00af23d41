"""``hm4sr check`` from the command line: what it says, and with which exit code."""

import numpy as np
import pytest
from datafiles import DAY, NEW_YEAR, walks, write_dataset, write_features, write_lines

from recbole_hm4sr import cli
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset

pytestmark = pytest.mark.integration


def check(capsys, *words):
    """Exit code and what was printed."""
    with pytest.raises(SystemExit, match=r"\d") as stop:
        cli.main(["check", *words])
    printed = capsys.readouterr()
    return stop.value.code, printed.out + printed.err


def toy(tmp_path, inter=None, **files):
    return write_dataset(tmp_path / "toy", walks([5, 4, 3]) if inter is None else inter, **files)


def test_sound_data_pass_with_their_counts(toy_path, capsys, tmp_path):
    page = tmp_path / "page.html"
    code, text = check(capsys, "--dataset=toy", f"--data_path={toy_path}", f"--out={page}")
    assert code == 0
    assert "A run can read it: no error" in text
    assert "GENERATED" in text
    assert "Modality text" in text
    assert "Modality image" in text
    assert "24 of 24 items (100 %)" in text
    assert f"page: {page}" in text
    assert "<svg" in page.read_text()


def test_the_flag_html_names_the_page_after_the_data_set(toy_path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _ = check(capsys, "--dataset=toy", f"--data_path={toy_path}", "--html")
    assert code == 0
    assert (tmp_path / "check-toy.html").is_file()


def test_the_split_is_counted_as_a_run_makes_it(tmp_path, capsys):
    rows = [*walks([5, 4, 3]), ("late", "i9", NEW_YEAR), ("late", "i1", NEW_YEAR + DAY)]
    code, text = check(capsys, "--dataset=toy", f"--data_path={toy(tmp_path, rows)}")
    assert code == 0
    # Targets 4, 3, 2 and 1; of 4 and 3 two are held out, of 2 one, which is tested, of 1 none.
    assert "14 of 4 users and 6 items" in text
    assert "5 training, 2 validation and 3 test targets" in text


def test_filters_apply_to_the_run_and_not_to_the_file(tmp_path, capsys):
    rows = [*walks([5, 5]), ("late", "i1", NEW_YEAR)]
    flags = ['--user_inter_num_interval="[2,inf)"']
    _, text = check(capsys, "--dataset=toy", f"--data_path={toy(tmp_path, rows)}", *flags)
    assert "users, items  3 and 5" in text
    assert "10 of 2 users and 5 items" in text


def test_all_problems_are_listed_not_only_the_first(tmp_path, capsys):
    rows = [("u1", "i1", NEW_YEAR), ("", "i2", NEW_YEAR), ("u2", "", -5)]
    items = ("item_id:token\tkind:token_seq", [("i1", "a"), ("i1", "b")])
    folder = toy(tmp_path, rows, item=items)
    (tmp_path / "toy" / "toy.image.npz").write_bytes(b"no archive")
    flags = ["--modalities={text: npz, image: npz}", "--category_field=kind"]
    code, text = check(capsys, "--dataset=toy", f"--data_path={folder}", *flags)
    assert code == 2
    assert "A run would stop: 6 errors" in text
    assert "user_id must not be empty" in text
    assert "item_id must not be empty" in text
    assert "timestamp must be 0 or more" in text
    assert "toy.text.npz does not exist" in text
    assert "toy.image.npz must be an .npz" in text
    assert "item_id must be on one line each" in text


def test_items_without_features_are_an_error_only_if_a_run_says_so(tmp_path, capsys):
    folder = toy(tmp_path)
    write_features(tmp_path / "toy", "text", {f"i{n}": [1.0, float(n)] for n in range(4)})
    flags = ["--dataset=toy", f"--data_path={folder}", "--modalities={text: npz}"]
    code, text = check(capsys, *flags)
    assert code == 2
    assert "1 of 5 items have no text feature" in text
    assert "4 of 5 items (80 %)" in text
    code, text = check(capsys, *flags, "--missing_features=zero")
    assert code == 0
    assert "warning: text: 1 of 5 items have no row" in text


def test_what_only_the_run_refuses_is_found_and_the_numbers_stay(tmp_path, capsys):
    code, text = check(capsys, "--dataset=toy", f"--data_path={toy(tmp_path, walks([2, 2]))}")
    assert code == 2
    assert "must leave samples in every part" in text
    assert "4 of 2 users and 2 items" in text


def test_milliseconds_are_told_and_counted_in_full(tmp_path, capsys):
    rows = [(user, item, time * 1000 + 7) for user, item, time in walks([5, 4, 3])]
    folder = toy(tmp_path, rows)
    flags = ["--dataset=toy", f"--data_path={folder}"]
    code, text = check(capsys, *flags)
    assert code == 2
    assert "set timestamp_unit: ms" in text
    code, text = check(capsys, *flags, "--timestamp_unit=ms")
    assert code == 0
    assert "milliseconds; 0 % are at midnight" in text
    assert "2024-01-01 to 2024-01-05" in text


def test_other_splits_have_no_leakage_section(toy_path, capsys):
    flags = ["--dataset=toy", f"--data_path={toy_path}", "--eval_args={split: {RS: [8, 1, 1]}, "
             "order: TO, group_by: user, mode: full}"]  # fmt: skip
    code, text = check(capsys, *flags)
    assert code == 0
    assert "leakage is counted for leave-one-out only" in text


def test_wrong_settings_are_one_line_and_exit_code_2(toy_path, capsys):
    flags = ["--dataset=toy", f"--data_path={toy_path}"]
    code, text = check(capsys, *flags, "--mising_features=zero", "--timestamp_unit=h")
    assert code == 2
    assert "did you mean 'missing_features'" in text
    assert "timestamp_unit must be one of s, ms" in text


def test_a_missing_file_is_said_and_the_rest_is_checked(tmp_path, capsys):
    (tmp_path / "toy").mkdir()
    items = np.arange(4)
    write_lines(tmp_path / "toy" / "toy.item", "item_id:token", [(f"i{n}",) for n in items])
    flags = ["--dataset=toy", f"--data_path={tmp_path}", "--modalities={text: item}"]
    code, text = check(capsys, *flags)
    assert code == 2
    assert "toy.inter does not exist" in text
    assert "must have the column 'text'" in text


def test_files_are_read_by_the_runs_own_class(monkeypatch, tmp_path, capsys):
    built = []
    original = MultiModalSequentialDataset.build
    monkeypatch.setattr(
        MultiModalSequentialDataset, "build", lambda self: built.append(1) or original(self)
    )
    check(capsys, "--dataset=toy", f"--data_path={toy(tmp_path)}")
    assert built == [1]
