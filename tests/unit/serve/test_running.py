"""Where a service listens, and what is refused before anything is imported."""

import socket

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.serve.running import address_of, bind_port


def test_a_free_port_is_taken_and_not_listened_at_yet():
    with bind_port("127.0.0.1", 0) as bound:
        host, port = bound.getsockname()
        assert address_of(bound) == f"http://{host}:{port}"
        with pytest.raises(ConnectionRefusedError, match="refused"):
            socket.create_connection((host, port), timeout=5)


def test_a_port_that_is_taken_is_refused_with_a_sentence():
    with bind_port("127.0.0.1", 0) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        words = f"cannot listen at 127.0.0.1, port {port}: .*; name another with --host and --port"
        with pytest.raises(ConfigError, match=words):
            bind_port("127.0.0.1", port)


def test_a_name_that_is_no_host_is_refused_with_a_sentence():
    with pytest.raises(ConfigError, match=r"cannot listen at no host, port 0: "):
        bind_port("no host", 0)
