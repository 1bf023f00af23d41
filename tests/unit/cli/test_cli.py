"""The command line's own words: one line, exit code 2, and help where nothing is asked."""

import re

import pytest
import torch
import typer
from typer.testing import CliRunner

from recbole_hm4sr import cli
from recbole_hm4sr.base import compat
from recbole_hm4sr.base.errors import ConfigError


def said(capsys, *words):
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    return capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "error: No such command 'trian'"),
        (["evaluate"], "error: Missing option '--run'"),
        (["evaluate", "--rnu=x"], "error: No such option: --rnu"),
        (["evaluate", "--run"], "error: Option '--run' requires an argument"),
        (["compare", "--jobs=two"], "error: Invalid value for '--jobs'"),
    ],
)
def test_a_wrong_word_is_one_line_that_names_the_help(capsys, words, message):
    printed = said(capsys, *words)
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith(message)
    assert line.endswith("--help says what it takes")


@pytest.mark.parametrize("words", [[], ["prepare"], ["encode"]])
def test_without_a_command_the_help_is_shown(capsys, words):
    printed = said(capsys, *words)
    assert "Usage" in printed.out + printed.err


@pytest.mark.parametrize("words", [[], ["prepare"], ["encode"]])
def test_the_list_of_commands_is_whole_at_80_columns(words):
    done = CliRunner().invoke(cli.app, [*words, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    _, commands = done.output.split("Commands:\n")
    assert "..." not in commands
    assert "…" not in commands
    for line in commands.splitlines():  # a line each: none is wrapped
        assert re.fullmatch(r"  [a-z-]+ +[A-Z].{10,59}\.", line), line


def raising(monkeypatch, message):
    app = typer.Typer()

    @app.command()
    def fail():
        raise ConfigError(message)

    monkeypatch.setattr(cli, "app", app)


def test_a_message_of_several_lines_becomes_one(capsys, monkeypatch):
    raising(monkeypatch, "a\n  b\tc")
    assert said(capsys).err == "error: a b c\n"


def test_an_endless_message_is_cut_in_its_middle(capsys, monkeypatch):
    raising(monkeypatch, "begin " + "x" * 100_000 + " end")
    line = said(capsys).err
    assert line.startswith("error: begin x")
    assert line.endswith("x end\n")
    assert len(line) < 4100


def test_an_exit_code_of_a_command_is_kept(monkeypatch):
    app = typer.Typer()

    @app.command()
    def stop():
        raise typer.Exit(130)

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit, match="130"):
        cli.main([])


def test_errors_of_our_own_code_keep_their_kind():
    with pytest.raises(KeyError, match="ours"), compat.recbole_errors_as_config_errors():
        raise KeyError("ours")
    with pytest.raises(ConfigError, match="theirs"), compat.recbole_errors_as_config_errors():
        raise ConfigError("theirs")


def test_errors_of_torch_become_one_sentence():
    with (
        pytest.raises(ConfigError, match=r"^the model and the data must fit the settings, but: "),
        compat.recbole_errors_as_config_errors(),
    ):
        torch.nn.Dropout(2.0)


@pytest.mark.parametrize("gpu_id", ["a", "-1", "0x1", [0]])
def test_a_gpu_is_a_number(gpu_id):
    with pytest.raises(ConfigError, match="gpu_id must be the number of a GPU"):
        compat.choose_device(True, gpu_id)
