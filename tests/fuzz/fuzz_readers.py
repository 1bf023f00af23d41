"""Feed mutated files to the readers of atomic and feature files: ``make fuzz``.

A reader may answer a file with a value that keeps its promises, or with a ``DataError`` of one
line. Anything else is a finding: the input stays in the folder ``--findings``, to become a test.

    python tests/fuzz/fuzz_readers.py --seconds 60
"""

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["recbole_hm4sr"]):
    from recbole_hm4sr.base.errors import DataError
    from recbole_hm4sr.data import atomic, features, npz, times  # noqa: F401

TARGETS = ("atomic", "features")
MEMBERS = ("tokens", "values", "encoder", "revision")
# Parts of an input of the target features are parted by this.
PART = b"\xfe\xff\xfe\xff"
HEADER = b"user_id:token\titem_id:token\ttimestamp:float\tv:float_seq\tw:token_seq\n"
ATOMIC_SEEDS = (
    HEADER + b"u\ti\t1600000000\t1 2\ta b\nu\tj\t1600000001\t3 4\t\n",
    (HEADER + b"u\ti\t5\t1\ta\nv\ti\tnan\t1\tb\n").replace(b"\n", b"\r\n"),
    b"\xef\xbb\xbf" + HEADER + b'"u\ti"\t1e9\t-1e39 nan\tNA\n',
    HEADER + b"u\ti\t-1\t\t\n\n\n",
    "a:token\nö\n\u2028\n".encode(),
)


def check_atomic(path: Path) -> None:
    """What the reader of atomic files promises, on one file."""
    table = atomic.read_atomic(path)
    n_lines = len(path.read_bytes().rstrip(b"\r\n").split(b"\n")) - 1
    assert len(table.frame) == n_lines, (len(table.frame), n_lines)
    for name, kind in table.kinds.items():
        for read in (
            lambda name=name: table.tokens(name),
            lambda name=name: table.sequences(name),
            lambda name=name: atomic.parse_float_sequences(table, name),
            lambda name=name: times.read_times(table, name, "s"),
            lambda name=name: times.read_times(table, name, "ms"),
        ):
            try:
                values = read()
            except DataError as error:
                assert_one_line(error)
            else:
                assert len(values) == n_lines
                if kind == "float":
                    assert (values >= 0).all()


def check_features(path: Path) -> None:
    """What the reader of feature files promises, on one file."""
    found = features.load_features(path)
    assert len(found.tokens) == len(set(found.tokens.tolist())) == len(found.values)
    assert np.isfinite(found.values).all()


def assert_one_line(error: Exception) -> None:
    """A message is one line of printable text that is not endless."""
    assert len(str(error).splitlines()) <= 1, repr(str(error))
    assert len(str(error)) < 4000


def archive_of(data: bytes) -> bytes:
    """An archive with sound check sums around mutated members; or the bytes as they are."""
    if not data.startswith(b"zip"):
        return data
    file = io.BytesIO()
    parts = data[3:].split(PART)
    packing = zipfile.ZIP_DEFLATED if len(parts) % 2 else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in zip(MEMBERS, parts, strict=False):
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def feature_seeds() -> list[bytes]:
    """Whole archives, and their members alone."""
    seeds = []
    for values in (np.eye(2, dtype=np.float32), np.zeros((2, 3), dtype=np.float16)):
        arrays = (np.array(["a", "bc"]), values, np.array("e"), np.array("r"))
        file = io.BytesIO()
        np.savez(file, **dict(zip(MEMBERS, arrays, strict=True)))
        seeds.append(file.getvalue())
        parts = []
        for array in arrays:
            part = io.BytesIO()
            np.save(part, array)
            parts.append(part.getvalue())
        seeds += [b"zip" + PART.join(parts), b"zip" + PART.join([*parts, b""])]
    return seeds


def fuzz(target: str, words: list[str]) -> None:
    """Run the fuzzer in this process; it does not come back."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    path = folder / ("toy.inter" if target == "atomic" else "toy.text.npz")
    check = check_atomic if target == "atomic" else check_features

    def one(data: bytes) -> None:
        path.write_bytes(data if target == "atomic" else archive_of(data))
        try:
            check(path)
        except DataError as error:
            assert_one_line(error)

    atheris.Setup([sys.argv[0], *words], one)
    atheris.Fuzz()


def main() -> None:
    """Run each target for its share of the time; exit code 1 if one found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for both targets together")
    parser.add_argument("--corpus", type=Path, help="folder that keeps inputs for another day")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("words", nargs="*", help="options of libFuzzer")
    options = parser.parse_args()
    if options.target:
        fuzz(options.target, options.words)
    failed = False
    for target in TARGETS:
        corpus = (options.corpus or Path(tempfile.mkdtemp(prefix="corpus-"))) / target
        corpus.mkdir(parents=True, exist_ok=True)
        options.findings.mkdir(parents=True, exist_ok=True)
        seeds = ATOMIC_SEEDS if target == "atomic" else feature_seeds()
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        words = [
            str(corpus),
            f"-max_total_time={options.seconds // len(TARGETS)}",
            f"-artifact_prefix={options.findings}/{target}-",
            # A file that takes 5 minutes (a busy machine takes seconds), or 1 GiB, is one too.
            *("-timeout=300", "-rss_limit_mb=1024", "-max_len=8192", "-print_final_stats=1"),
        ]
        command = [sys.executable, __file__, "--target", target, "--", *words]
        failed |= subprocess.run(command, check=False).returncode != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
