"""Which addresses may be asked, and that no other is."""

import shutil
import socket
import ssl
import subprocess

import pytest
from imageserver import PNG

from recbole_hm4sr.prepare.images import fetch as fetch_module
from recbole_hm4sr.prepare.images.fetch import (
    FetchError,
    FetchRules,
    checked_addresses,
    fetch,
    is_public,
    parse_address,
    retry_after,
)


def test_the_connection_goes_to_the_address_that_was_checked(server, monkeypatch):
    asked = []
    original = socket.getaddrinfo

    def resolve(host, port, *rest, **words):
        if host == "shop.example":
            asked.append(host)
            host = "127.0.0.1"
        return original(host, port, *rest, **words)

    monkeypatch.setattr(fetch_module.socket, "getaddrinfo", resolve)
    url = f"http://shop.example:{server.server_port}/good"
    assert fetch(url, FetchRules(hosts=(), allow_private=True)) == PNG
    # A second look-up could give another answer; the server still hears the name.
    assert asked == ["shop.example"]
    assert server.seen[0][1]["Host"] == f"shop.example:{server.server_port}"


def test_another_address_of_the_host_is_asked_if_one_is_unreachable(server, monkeypatch):
    # All of 127.0.0.0/8 is this machine, but the server listens on one number of it.
    monkeypatch.setattr(
        fetch_module, "checked_addresses", lambda *_, **__: ["127.0.0.77", "127.0.0.1"]
    )
    url = f"http://shop.example:{server.server_port}/good"
    assert fetch(url, FetchRules(hosts=(), allow_private=True)) == PNG


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_must_be_of_the_hosts_name(server, monkeypatch, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example"]
    command = ["openssl", "req", "-x509", *words, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setattr(fetch_module, "checked_addresses", lambda *_, **__: ["127.0.0.1"])
    rules = FetchRules(hosts=(), allow_private=True, total_seconds=5.0)
    port = server.server_port
    with pytest.raises(FetchError, match="bad certificate"):  # nobody vouches for it
        fetch(f"https://shop.example:{port}/good", rules)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch(f"https://shop.example:{port}/good", rules) == PNG
    with pytest.raises(FetchError, match="bad certificate"):
        fetch(f"https://other.example:{port}/good", rules)
    assert len(server.seen) == 1


def test_a_name_with_one_private_answer_is_refused(monkeypatch):
    numbers = ["93.184.216.34", "10.0.0.1"]
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 80)) for number in numbers]
    monkeypatch.setattr(fetch_module.socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(FetchError, match="private network address"):
        checked_addresses("shop.example", 80, allow_private=False)
    assert checked_addresses("shop.example", 80, allow_private=True) == numbers


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("2606:4700::1111", True),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_public_addresses(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize("url", ["http://", "http://[::1", "//host/x.png", "x.png"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(FetchError, match=r"not an address|neither http nor https"):
        parse_address(url)


def test_retry_after_is_seconds_or_a_date(monkeypatch):
    assert retry_after(None) is None
    assert retry_after("7") == 7.0
    assert retry_after("soon") is None
    monkeypatch.setattr(fetch_module.time, "time", lambda: 1_704_067_190.0)
    assert retry_after("Mon, 01 Jan 2024 00:00:00 GMT") == 10.0


def test_redirects_stay_on_the_hosts_of_the_table(download, server):
    report = download({"a": "moved", "b": "round", "c": "away", "d": "file"})
    assert report.n_fetched == 1
    assert report.missing == {
        "too many redirects": 1,
        "refused: redirect to a host that the table does not name": 1,
        "refused: neither http nor https": 1,
    }
    assert len(server.seen) == 2 + 6 + 1 + 1
    assert download({"c": "away"}, redirect_hosts=("localhost",)).n_fetched == 1


def test_private_addresses_are_refused_unless_allowed(download, server):
    port = server.server_port
    pages = {
        "number": "good",
        "name": f"http://localhost:{port}/good",
        "long": f"http://2130706433:{port}/good",
        "mapped": f"http://[::ffff:127.0.0.1]:{port}/good",
    }
    report = download(pages, allow_private=False)
    assert report.missing == {"refused: private network address": 4}
    assert server.seen == []
