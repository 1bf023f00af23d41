"""One address to its bytes, and never to a place that the rules do not allow.

The rules: http or https only, no name and password in the address; the host's name is resolved
once, every answer must be a public address (unless private ones are allowed), and the connection
goes to an answer that was checked, so a name cannot mean something else a moment later. A redirect
is a new address under the same rules, and its host must be one that the caller allows. No proxy, no
cookies, no other request than the one for the address.
"""

import contextlib
import datetime
import email.utils
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from recbole_hm4sr.base.errors import DataError

_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (429, 503)
_MAX_REDIRECTS = 5
_CHUNK = 1 << 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class FetchError(Exception):
    """Why an address gave nothing.

    Attributes:
        reason: For the report, the same words for the same cause.
        retry: Whether another try may help.
        wait: Seconds the server asked to wait, if it did.
    """

    def __init__(self, reason: str, *, retry: bool = False, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry, self.wait = reason, retry, wait


class _UnreachableError(FetchError):
    """No connection to one of a host's addresses; another may answer."""


@dataclass(frozen=True, kw_only=True)
class FetchRules:
    """Limits of one fetch.

    Attributes:
        hosts: Hosts that a redirect may lead to, lower case.
        allow_private: Whether addresses of private networks and this machine are allowed.
        max_bytes: The largest body.
        connect_seconds: Time-out of a connection.
        read_seconds: The longest silence of the server.
        total_seconds: The longest a fetch may take in all, redirects included.
        agent: What the requests say they come from.
    """

    hosts: Collection[str]
    allow_private: bool = False
    max_bytes: int = 20 << 20
    connect_seconds: float = 10.0
    read_seconds: float = 20.0
    total_seconds: float = 60.0
    agent: str = "recbole-hm4sr"


@dataclass(frozen=True)
class _Address:
    scheme: str
    host: str
    port: int
    path: str


def require_urllib3() -> None:
    """Say which extra to install before anything begins.

    Raises:
        DataError: If urllib3 is missing.
    """
    try:
        import urllib3  # noqa: F401
    except ImportError as error:
        raise DataError(
            "downloading needs urllib3; install it by pip install 'recbole-hm4sr[prepare]'"
        ) from error


def fetch(url: str, rules: FetchRules) -> bytes:
    """The body of an address.

    Raises:
        FetchError: If the rules refuse it, or it gives none.
    """
    deadline = time.monotonic() + rules.total_seconds
    address = parse_address(url)
    for _ in range(_MAX_REDIRECTS + 1):
        target = _get(address, rules, deadline)
        if isinstance(target, bytes):
            return target
        following = parse_address(target)
        if address.scheme == "https" and following.scheme == "http":
            raise FetchError("refused: redirect from https to http")
        if following.host not in rules.hosts:
            raise FetchError("refused: redirect to a host that the table does not name")
        address = following
    raise FetchError("too many redirects")


def parse_address(url: str) -> _Address:
    """The parts of an address.

    Raises:
        FetchError: If it is not one of http or https, or holds a name and password.
    """
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    try:
        parts = parse_url(url.strip())
    except LocationParseError as error:
        raise FetchError("not an address") from error
    if parts.scheme not in ("http", "https"):
        raise FetchError("refused: neither http nor https")
    if not parts.host:
        raise FetchError("not an address")
    if parts.auth is not None:
        raise FetchError("refused: name and password in the address")
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return _Address(parts.scheme, parts.host.strip("[]").lower(), port, parts.request_uri)


def checked_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The numeric addresses of a host, all of them allowed.

    Raises:
        FetchError: If the name does not resolve, or one answer is not public.
    """
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise FetchError("the host's name does not resolve", retry=True) from error
    except (UnicodeError, ValueError) as error:
        raise FetchError("not an address") from error
    found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    if not allow_private and not all(is_public(address) for address in found):
        raise FetchError("refused: private network address")
    return found


def is_public(address: str) -> bool:
    """Whether a numeric address, and the one it may carry inside, is of the public internet."""
    number = ipaddress.ip_address(address.split("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        if number in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)))
        inner = number.ipv4_mapped or number.sixtofour or (number.teredo or (None, None))[1]
        if inner is not None:
            return is_public(str(inner))
    return number.is_global and not number.is_multicast


def _get(address: _Address, rules: FetchRules, deadline: float) -> "bytes | str":
    """One request: the body, or where it is redirected to."""
    numbers = checked_addresses(address.host, address.port, allow_private=rules.allow_private)
    for number in numbers[:-1]:
        with contextlib.suppress(_UnreachableError):
            return _ask(number, address, rules, deadline)
    return _ask(numbers[-1], address, rules, deadline)


def _ask(number: str, address: _Address, rules: FetchRules, deadline: float) -> "bytes | str":
    from urllib3.exceptions import HTTPError

    left = deadline - time.monotonic()
    if left <= 0:
        raise FetchError("time-out", retry=True)
    connection = _connection(address, number, min(rules.connect_seconds, left))
    # The time-outs of a socket begin anew with each byte; this ends a server that drips them.
    alarm = threading.Timer(left, _cut, args=(connection,))
    alarm.daemon = True
    alarm.start()
    kind: type[FetchError] = _UnreachableError
    try:
        connection.connect()
        kind = FetchError
        return _exchange(connection, address, rules, deadline)
    except (TimeoutError, HTTPError, HTTPException, OSError) as error:
        late = time.monotonic() >= deadline or isinstance(error, TimeoutError)
        late = late or "timed out" in str(error)
        raise kind("time-out" if late else _failure(error), retry=True) from error
    finally:
        alarm.cancel()
        connection.close()


def _failure(error: Exception) -> str:
    return "bad certificate" if "CERTIFICATE" in str(error) else "the connection failed"


def _connection(address: _Address, number: str, seconds: float) -> Any:
    """A connection to a checked number; a certificate must still be of the host's name."""
    from urllib3.connection import HTTPConnection, HTTPSConnection

    if address.scheme == "http":
        return HTTPConnection(number, address.port, timeout=seconds)
    return HTTPSConnection(
        number,
        address.port,
        timeout=seconds,
        server_hostname=address.host,
        ssl_context=ssl.create_default_context(),
    )


def _cut(connection: Any) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _exchange(
    connection: Any, address: _Address, rules: FetchRules, deadline: float
) -> "bytes | str":
    from urllib3.util import Url

    connection.sock.settimeout(rules.read_seconds)
    default = address.port == {"http": 80, "https": 443}[address.scheme]
    host = f"[{address.host}]" if ":" in address.host else address.host
    headers = {
        "Host": host if default else f"{host}:{address.port}",
        "User-Agent": rules.agent,
        "Accept": "image/*",
        "Accept-Encoding": "identity",
    }
    connection.request("GET", address.path, headers=headers, preload_content=False)
    response = connection.getresponse()
    if response.status in _REDIRECTS and "Location" in response.headers:
        return _absolute(
            response.headers["Location"],
            Url(scheme=address.scheme, host=host, port=address.port, path=address.path).url,
        )
    if response.status != 200:
        again = response.status in (408, 429) or response.status >= 500
        wait = retry_after(response.headers.get("Retry-After")) if again else None
        raise FetchError(f"status {response.status}", retry=again, wait=wait)
    return _read_body(response, rules, deadline)


def _absolute(location: str, base: str) -> str:
    from urllib.parse import urljoin

    try:
        return urljoin(base, location)
    except ValueError as error:
        raise FetchError("not an address") from error


def _read_body(response: Any, rules: FetchRules, deadline: float) -> bytes:
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > rules.max_bytes:
        raise FetchError("too large")
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > rules.max_bytes:
            raise FetchError("too large")
        if time.monotonic() > deadline:
            raise FetchError("time-out", retry=True)
    if announced.isdigit() and len(body) < int(announced):
        raise FetchError("the connection failed", retry=True)
    if time.monotonic() > deadline:  # the alarm ends a body of unknown length, too
        raise FetchError("time-out", retry=True)
    return bytes(body)


def retry_after(text: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, as a number or a date; None without one."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return max(0.0, moment.timestamp() - time.time())
