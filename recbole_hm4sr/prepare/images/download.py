"""Download the images of an item table: politely, once each, decoded before they count.

The folder gets ``<token>.<ext>`` (characters that a file name cannot hold as ``%XX``), the ledger
``images.jsonl`` with a line for each result, and ``missing.tsv`` with what is not there and why. A
restart reads the ledger and asks only for what is missing. ``fetch.py`` has the rules of addresses,
``polite.py`` those of hosts. ``robots.txt`` is not read: it is no address of the table.
"""

import collections
import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_hm4sr import __version__
from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_whole
from recbole_hm4sr.data.atomic import read_atomic
from recbole_hm4sr.prepare.images.fetch import (
    FetchError,
    FetchRules,
    fetch,
    parse_address,
    require_urllib3,
)
from recbole_hm4sr.prepare.images.folder import (
    decode_image,
    file_stem,
    kept_images,
    make_folder,
    open_ledger,
    require_pillow,
    write_missing,
)
from recbole_hm4sr.prepare.images.polite import Download, PoliteQueue

_LONGEST_BACKOFF = 60.0
# After so many jobs in a row without an answer, the rest of a host is not asked for.
_DEAD_AFTER = 20
_DEAD = "its host does not answer"
_UNANSWERED = ("time-out", "the connection failed", "the host's name does not resolve")


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How to ask.

    Attributes:
        workers: Downloads at once.
        per_host: Downloads at once from one host.
        pause: Seconds between the starts of two downloads from one host.
        tries: Most tries of an address.
        backoff: Seconds before the second try; doubled for each further one.
        longest_wait: The most seconds of a ``Retry-After`` that is waited for.
        max_bytes: The largest image.
        connect_seconds: Time-out of a connection.
        read_seconds: The longest silence of a server.
        total_seconds: The longest a download may take.
        allow_private: Whether addresses of private networks and this machine may be asked.
        redirect_hosts: Hosts besides those of the table that a redirect may lead to.
    """

    workers: int = 8
    per_host: int = 2
    pause: float = 0.1
    tries: int = 4
    backoff: float = 1.0
    longest_wait: float = 120.0
    max_bytes: int = 20 << 20
    connect_seconds: float = 10.0
    read_seconds: float = 20.0
    total_seconds: float = 60.0
    allow_private: bool = False
    redirect_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageReport:
    """What a download left.

    Attributes:
        n_items: Items of the table.
        n_kept: Images that were there before.
        n_fetched: Images that this call fetched.
        missing: Reason to number of items without an image, most frequent first.
        folder: Where the images, the ledger and the list of missing ones are.
    """

    n_items: int
    n_kept: int
    n_fetched: int
    missing: dict[str, int]
    folder: Path


@dataclass
class _State:
    """What the workers share, under one lock."""

    options: ImageOptions
    rules: FetchRules
    folder: Path
    queue: PoliteQueue
    ledger: Any
    report: Callable[[int, int], None]
    n_jobs: int
    lock: Any = field(default_factory=threading.Lock)
    silent: "collections.Counter[str]" = field(default_factory=collections.Counter)
    fetched: set[str] = field(default_factory=set)
    missing: dict[str, tuple[str, str]] = field(default_factory=dict)
    n_done: int = 0


def download_images(
    items: Path,
    folder: Path,
    *,
    column: str,
    item_field: str = "item_id",
    options: ImageOptions | None = None,
    report: Callable[[int, int], None] = lambda done, jobs: None,  # noqa: ARG005
) -> ImageReport:
    """Download the images that an item table names and that the folder does not have yet.

    Args:
        items: The ``.item`` file.
        folder: Where images go; made if need be.
        column: Column of addresses; of several in a cell the first is taken.
        item_field: Column of item tokens.
        options: How to ask.
        report: Called with the finished and all downloads after each.

    Raises:
        DataError: If the table or the folder cannot be used, or a library is missing.
    """
    require_urllib3()
    require_pillow()
    options = options or ImageOptions()
    addresses = read_addresses(items, column, item_field)
    ledger = make_folder(folder)
    kept = kept_images(folder, ledger, addresses)
    wanted = {token: url for token, url in addresses.items() if token not in kept}
    jobs, refused = _plan(wanted)
    # Of all addresses, so that a restart follows the redirects that the first call followed.
    hosts = {job.host for job in _plan(addresses)[0]} | set(map(str.lower, options.redirect_hosts))
    rules = _fetch_rules(options, hosts)
    queue = PoliteQueue(jobs, per_host=options.per_host, pause=options.pause)
    with open_ledger(ledger) as file:
        state = _State(options, rules, folder, queue, file, report, len(jobs))
        for token, reason in refused.items():
            _record(state, token, wanted[token], reason=reason)
        _run(state)
    write_missing(folder / "missing.tsv", state.missing)
    missing = collections.Counter(reason for _, reason in state.missing.values())
    counts = (len(addresses), len(kept), len(state.fetched))
    return ImageReport(*counts, dict(missing.most_common()), folder)


def read_addresses(items: Path, column: str, item_field: str) -> dict[str, str]:
    """Item token to the first address of its cell, empty if there is none."""
    table = read_atomic(items, [item_field, column])
    tokens = table.tokens(item_field)
    first = [parts[0] if parts else "" for parts in table.sequences(column)]
    found = dict(zip(tokens, first, strict=True))
    if len(found) != len(tokens):
        raise DataError(
            f"{items}: {item_field} must be on one line each, got {len(tokens) - len(found):,} "
            f"more lines than items"
        )
    return found


def _fetch_rules(options: ImageOptions, hosts: Iterable[str]) -> FetchRules:
    return FetchRules(
        hosts=frozenset(hosts),
        allow_private=options.allow_private,
        max_bytes=options.max_bytes,
        connect_seconds=options.connect_seconds,
        read_seconds=options.read_seconds,
        total_seconds=options.total_seconds,
        agent=f"recbole-hm4sr/{__version__} (hm4sr prepare images)",
    )


def _plan(wanted: dict[str, str]) -> tuple[list[Download], dict[str, str]]:
    """A job for each address, whatever number of items share it; and items refused at once."""
    shared: dict[str, list[str]] = {}
    refused = {}
    for token, url in wanted.items():
        shared.setdefault(url, []).append(token)
    jobs = []
    for url, tokens in shared.items():
        try:
            if not url:
                raise FetchError("no address in the table")
            jobs.append(Download(url, parse_address(url).host, tuple(tokens)))
        except FetchError as error:
            refused.update(dict.fromkeys(tokens, error.reason))
    return jobs, refused


def _run(state: _State) -> None:
    """Let the workers empty the queue; an interruption ends them after the job at hand."""
    with ThreadPoolExecutor(state.options.workers) as pool:
        workers = [pool.submit(_work, state) for _ in range(state.options.workers)]
        try:
            for worker in workers:
                worker.result()
        finally:
            state.queue.stop()


def _work(state: _State) -> None:
    while (job := state.queue.take()) is not None:
        try:
            _try(state, job)
        except BaseException:
            state.queue.stop()
            state.queue.done(job)
            raise


def _try(state: _State, job: Download) -> None:
    """One try of a job: its images, a later try, or the reason why not."""
    options = state.options
    try:
        if state.silent[job.host] >= _DEAD_AFTER:
            raise FetchError(_DEAD)
        body = fetch(job.url, state.rules)
        suffix, width, height = decode_image(body)
    except FetchError as error:
        waits = error.wait is not None
        seconds = min(options.backoff * 2**job.tries, _LONGEST_BACKOFF)
        seconds = max(seconds, error.wait or 0.0)
        if error.retry and job.tries + 1 < options.tries and seconds <= options.longest_wait:
            state.queue.again(job, seconds=seconds, whole_host=waits)
            return
        _finish(state, job, reason=error.reason)
    else:
        digest = hashlib.sha256(body).hexdigest()
        facts = {"bytes": len(body), "width": width, "height": height, "sha256": digest}
        for token in job.tokens:
            path = state.folder / f"{file_stem(token)}{suffix}"
            write_whole(path, lambda file: file.write(body))
            _record(state, token, job.url, reason="", file=path.name, **facts)
        _finish(state, job)
    state.queue.done(job)


def _finish(state: _State, job: Download, *, reason: str = "") -> None:
    if reason:
        for token in job.tokens:
            _record(state, token, job.url, reason=reason)
    with state.lock:
        if reason in _UNANSWERED:
            state.silent[job.host] += 1
        elif reason != _DEAD:
            state.silent[job.host] = 0
        state.n_done += 1
        state.report(state.n_done, state.n_jobs)


def _record(state: _State, token: str, url: str, *, reason: str, **facts: Any) -> None:
    """Write a result to the ledger at once."""
    line = json.dumps({"token": token, "url": url, "reason": reason, **facts}, ensure_ascii=False)
    with state.lock:
        state.ledger.write(line + "\n")
        state.ledger.flush()
        if reason:
            state.missing[token] = (url, reason)
        else:
            state.fetched.add(token)
