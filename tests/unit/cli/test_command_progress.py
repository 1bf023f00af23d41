"""Progress on a terminal, in a log file, and after Ctrl-C."""

import pytest
import typer

from recbole_hm4sr.cli import progress as progress_module
from recbole_hm4sr.cli.progress import progress


def test_ctrl_c_is_answered_with_what_is_left_and_130(capsys):
    with pytest.raises(typer.Exit, match="130") as stopped, progress("all [of it] is kept"):
        raise KeyboardInterrupt
    assert stopped.value.exit_code == 130
    assert capsys.readouterr().out == "\ninterrupted; all [of it] is kept\n"


def test_a_log_file_gets_a_line_at_most_every_half_minute(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    with progress("") as report:
        for moment, *words in (
            (1.0, "reading", 1, 8),
            (30.0, "reading", 2, 8),
            (59.0, "reading", 3, 8),
            (61.0, "sorting", 0, 0),
        ):
            clock[0] = moment
            report(*words)
    assert capsys.readouterr().err == "reading: 25%\nsorting\n"


def test_a_terminal_gets_a_bar_for_each_thing(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's word for: behave as on a terminal
    with progress("") as report:
        report("reading [a]", 1, 2)
        report("writing", 0, 0)
    shown = capsys.readouterr()
    assert "reading [a]" in shown.err
    assert "writing" in shown.err
    assert shown.out == ""
