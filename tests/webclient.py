"""A server in a thread of this process, and what Prometheus would read of it."""

import contextlib
import re
import threading
import time

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@contextlib.contextmanager
def serving(app):
    """The address of a server on this machine, in a thread of this process."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        (listening,) = server.servers[0].sockets
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def read_metrics(text):
    """Samples of the text format 0.0.4: ``(name, (label, value), ...)`` to number.

    Refuses what Prometheus would: lines of another form, a sample before its type, series twice.
    """
    assert text.endswith("\n")
    kinds, samples = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            name, inside, number = _SAMPLE.fullmatch(line).groups()
            family = re.sub("_(bucket|sum|count)$", "", name)
            assert kinds.get(name, kinds.get(family)) in ("counter", "gauge", "histogram")
            labels = _LABEL.findall(inside or "")
            assert "".join(f'{label}="{value}",' for label, value in labels)[:-1] == (inside or "")
            plain = [
                (label, re.sub(r"\\.", lambda it: _ESCAPES[it[0]], value))
                for label, value in labels
            ]
            key = (name, *sorted(plain))
            assert key not in samples
            samples[key] = float(number)
    return samples
