"""``hm4sr serve`` in processes of its own, and clients that ask it without a pause."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import psutil

WAIT_SECONDS = 600


def until(holds, *, alive=None):
    """Wait until something is true and return it; a process that is needed must not end."""
    latest = time.monotonic() + WAIT_SECONDS
    while not (found := holds()):
        assert time.monotonic() < latest, f"waited for {WAIT_SECONDS} seconds"
        assert alive is None or alive.poll() is None, "the service has ended"
        time.sleep(0.02)
    return found


class ServeCommand:
    """A service that is started from a shell, in a session of its own.

    Args:
        folder: Where its log goes.
        words: The command after ``python -m``.
        python: The interpreter.
    """

    def __init__(self, folder, *words, python=sys.executable, **options):
        self._log = folder / "serve.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [python, "-m", *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )

    @property
    def log(self):
        return self._log.read_text(encoding="utf-8")

    def address(self):
        """Where it listens, once it says so."""
        return until(lambda: re.search(r" at (http://\S+)", self.log), alive=self.process)[1]

    def listening(self):
        """The processes that have begun to listen and are there."""
        begun = map(int, re.findall(r"Started server process \[(\d+)\]", self.log))
        return [number for number in begun if psutil.pid_exists(number)]

    def family(self):
        """Its processes, itself too."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def end(self, number=signal.SIGTERM, *, group=False):
        """Tell it to stop, and wait until it has. Returns its exit code, and its processes."""
        family = self.family()
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        code = self.process.wait(WAIT_SECONDS)
        return code, family

    def kill_all(self):
        """Leave nothing, whatever a test has found."""
        if self.process.poll() is None:
            for process in self.family()[::-1]:
                process.kill()
            self.process.wait()


def none_is_left(family):
    """Wait until all processes have ended."""
    return until(lambda: not any(it.is_running() and it.status() != "zombie" for it in family))


class Client:
    """Asks one thing without a pause, once more where the connection is closed, and keeps all.

    Attributes:
        answers: Status and body of each request.
        n_retried: How many were asked a second time.
    """

    def __init__(self, address, body, stop):
        self.answers, self.n_retried = [], 0
        self._address, self._body, self._stop = address, body, stop
        self._client = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _ask(self):
        import httpx

        self._client = self._client or httpx.Client(base_url=self._address, timeout=300)
        return self._client.post("/recommend", json=self._body)

    def _run(self):
        import httpx

        while not self._stop.is_set():
            try:
                answer = self._ask()
            except httpx.TransportError:
                self._client.close()
                self._client = None
                self.n_retried += 1
                answer = self._ask()
            self.answers.append((answer.status_code, answer.json()))
        self._client.close()

    def count(self, version):
        """How many answers are of a version."""
        return sum(body.get("version") == version for _, body in list(self.answers))
