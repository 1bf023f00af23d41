"""The command: ``hm4sr``, ``python -m recbole_hm4sr`` and ``python run_hm4sr.py``."""

import sys

from recbole_hm4sr.base.process_memory import reexec_without_tcache


def main(*first_words: str) -> None:
    """Run the command line on some words and those that this process was given."""
    reexec_without_tcache()
    try:
        from recbole_hm4sr.cli import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("recbole_hm4sr"):
            raise
        sys.stderr.write(
            f"error: the command needs the package {error.name}; an installation without the "
            f"requirements serves exported folders alone: python -m recbole_hm4sr.serve.onnx_only\n"
        )
        sys.exit(2)
    run([*first_words, *sys.argv[1:]])


if __name__ == "__main__":
    main()
