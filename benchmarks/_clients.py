"""Clients of a service over plain connections: they ask without a pause, and judge the answers."""

import asyncio
import json
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ROUNDING = 1e-4
TIMEOUT_SECONDS = 120
NOTHING = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"


@dataclass
class Question:
    """A request and its right answers.

    Attributes:
        request: As it is sent.
        lists: Items and scores of the one user, by version.
    """

    request: bytes
    lists: dict[str, tuple[list[str], list[float]]] = field(default_factory=dict)


class Connection:
    """One client's connection, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; status and body of the answer.

        Raises:
            OSError: If the connection is closed before the answer is whole.
        """
        try:
            return await asyncio.wait_for(self._ask(request), TIMEOUT_SECONDS)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            self.close()
            raise ConnectionError(str(error)) from error

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if length is None:
            raise ConnectionError("an answer without a length")
        body = await reader.readexactly(int(length[1]))
        if b"connection: close" in head.lower():
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


@dataclass
class Tally:
    """What became of requests."""

    counts: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def judge(self, question: Question, status: int, body: bytes) -> None:
        """Count an answer as right or wrong."""
        self.statuses[status] += 1
        if status != 200:
            self._wrong(f"{status}: {body[:200]!r}")
            return
        answer = json.loads(body)
        version, (user,) = answer["version"], answer["users"]
        self.versions[version] += 1
        if version not in question.lists:
            self._wrong(f"version {version}")
            return
        items, scores = question.lists[version]
        own = [it["item"] for it in user["items"]]
        values = [it["score"] for it in user["items"]]
        # Sums in another order may swap what is equal but for rounding.
        is_close = np.allclose(values, scores, rtol=ROUNDING, atol=ROUNDING * abs(scores[0]))
        if is_close and sorted(own) == sorted(items):
            self.counts["right"] += 1
            self.counts["in another order"] += own != items
        else:
            self._wrong(f"{version}: {own} and not {items}")

    def _wrong(self, why: str) -> None:
        self.counts["wrong"] += 1
        if len(self.examples) < 5:
            self.examples.append(why)


async def keep_asking(
    port: int, questions: Sequence[Question], until: float, tally: Tally, seed: int
) -> None:
    """A client without a pause; where its connection is closed, it asks once more."""
    drawn, connection = random.Random(seed), Connection(port)
    while time.monotonic() < until:
        question = drawn.choice(questions)
        tally.counts["asked"] += 1
        for attempt in range(2):
            try:
                status, body = await connection.ask(question.request)
            except ConnectionError as error:
                tally.counts["lost" if attempt else "asked again"] += 1
                if attempt:
                    tally.examples.append(f"lost: {error}")
                continue
            tally.judge(question, status, body)
            break
    connection.close()


async def measure_latency(
    port: int, questions: Sequence[Question], n_clients: int, seconds: float
) -> dict[str, Any]:
    """Latencies of recommendations and of nothing, asked in turn by each client."""
    found: dict[str, list[float]] = {"recommend": [], "nothing": []}
    until = time.monotonic() + seconds

    async def client(seed: int) -> None:
        drawn, connection = random.Random(seed), Connection(port)
        while time.monotonic() < until:
            for name, request in (
                ("recommend", drawn.choice(questions).request),
                ("nothing", NOTHING),
            ):
                began = time.perf_counter()
                await connection.ask(request)
                found[name].append(time.perf_counter() - began)
        connection.close()

    await asyncio.gather(*(client(seed) for seed in range(n_clients)))
    rows = {
        name: {
            "requests": len(times),
            "median_ms": 1000 * statistics.median(times),
            "p95_ms": 1000 * float(np.quantile(times, 0.95)),
            "p99_ms": 1000 * float(np.quantile(times, 0.99)),
        }
        for name, times in found.items()
    }
    ratios = {
        name: rows["recommend"][name] / rows["nothing"][name]
        for name in ("median_ms", "p95_ms", "p99_ms")
    }
    return {"clients": n_clients, **rows, "ratios": ratios}
