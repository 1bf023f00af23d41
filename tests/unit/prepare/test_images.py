"""Downloads against a server on this machine that fails, stalls, lies and breaks."""

import io
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from datafiles import write_lines

from recbole_hm4sr.errors import DataError
from recbole_hm4sr.prepare import fetch as fetch_module
from recbole_hm4sr.prepare import image_folder
from recbole_hm4sr.prepare.fetch import (
    FetchError,
    FetchRules,
    checked_addresses,
    fetch,
    is_public,
    parse_address,
    retry_after,
)
from recbole_hm4sr.prepare.image_folder import decode_image, file_stem
from recbole_hm4sr.prepare.images import ImageOptions, download_images
from recbole_hm4sr.prepare.polite import Job, PoliteQueue

pytest.importorskip("urllib3", reason="the extra images is not installed")
Image = pytest.importorskip("PIL.Image", reason="the extra images is not installed")
QUICK = ImageOptions(
    workers=4,
    per_host=4,
    pause=0.0,
    tries=3,
    backoff=0.01,
    connect_seconds=2.0,
    read_seconds=0.3,
    total_seconds=1.0,
    allow_private=True,
)


def picture(kind="PNG", size=(8, 6)):
    """A real image; noise, so that it cannot shrink to a few bytes."""
    file = io.BytesIO()
    noise = bytes((n * n * 37 + n * 11) % 251 for n in range(size[0] * size[1] * 3))
    Image.frombytes("RGB", size, noise).save(file, kind)
    return file.getvalue()


PNG, JPEG = picture(), picture("JPEG")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        seen = self.server.seen
        seen.append((self.path, dict(self.headers)))
        tries = sum(path == self.path for path, _ in seen)
        getattr(self, "page_" + self.path.strip("/").split("/")[0])(tries)

    def answer(self, body=PNG, status=200, announced=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def page_good(self, tries):
        self.answer()

    def page_jpeg(self, tries):
        self.answer(JPEG, Content_Type="image/jpeg")

    def page_lies(self, tries):
        self.answer(b"<html>no such picture</html>", Content_Type="image/jpeg")

    def page_modest(self, tries):
        self.answer(JPEG, Content_Type="text/plain")

    def page_gone(self, tries):
        self.answer(b"", status=404)

    def page_fails(self, tries):
        self.answer(b"", status=500)

    def page_once(self, tries):
        self.answer(PNG, status=503 if tries == 1 else 200)

    def page_busy(self, tries):
        if tries == 1:
            self.answer(b"", status=429, Retry_After="1")
        else:
            self.answer()

    def page_closed(self, tries):
        self.answer(b"", status=429, Retry_After="3600")

    def page_cut(self, tries):
        self.answer(PNG[:-20])

    def page_short(self, tries):
        self.answer(PNG[:30], announced=len(PNG))

    def page_silent(self, tries):
        self.server.leave.wait(3)

    def page_drips(self, tries):
        self.send_response(200)
        self.end_headers()
        self.drip(PNG)

    def page_slowhead(self, tries):
        self.drip(b"HTTP/1.1 200 OK\r\nContent-Type: image/png" + b" " * 500)

    def drip(self, body):
        for byte in body:
            if self.server.leave.wait(0.1):
                return
            try:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
            except OSError:
                return

    def page_large(self, tries):
        self.answer(b"x" * 5000)

    def page_endless(self, tries):
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b"x" * 1000)
        except OSError:
            pass

    def page_moved(self, tries):
        self.answer(b"", status=302, Location="/good")

    def page_round(self, tries):
        self.answer(b"", status=302, Location="/round")

    def page_away(self, tries):
        self.answer(b"", status=302, Location=f"http://localhost:{self.server.server_port}/good")

    def page_file(self, tries):
        self.answer(b"", status=302, Location="file:///etc/hostname")

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    """Its requests stand in ``seen``; it ends with the test."""
    one = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    one.daemon_threads = True
    one.seen, one.leave = [], threading.Event()
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield one
    one.leave.set()
    one.shutdown()
    one.server_close()
    thread.join()


@pytest.fixture
def download(server, tmp_path):
    """Download the pages of a mapping of item to page (or address); options may be changed."""

    def run(pages, **changes):
        base = f"http://127.0.0.1:{server.server_port}/"
        rows = [
            (token, page if ":" in page or not page else base + page)
            for token, page in pages.items()
        ]
        table = write_lines(tmp_path / "toy.item", "item_id:token\timage:token", rows)
        options = ImageOptions(**{**vars(QUICK), **changes})
        return download_images(table, tmp_path / "images", column="image", options=options)

    return run


def paths(server):
    return [path for path, _ in server.seen]


def ledger(folder):
    return [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]


def test_images_are_saved_by_item_with_the_extension_of_their_content(download, server):
    report = download({"B1": "good", "B2": "jpeg", "B3": "modest"})
    assert (report.n_items, report.n_fetched, report.n_kept, report.missing) == (3, 3, 0, {})
    assert (report.folder / "B1.png").read_bytes() == PNG
    assert (report.folder / "B2.jpg").read_bytes() == JPEG
    # What the server calls text is an image all the same.
    assert (report.folder / "B3.jpg").read_bytes() == JPEG
    assert {line["width"] for line in ledger(report.folder)} == {8}
    assert not list(report.folder.glob(".*"))
    agent = server.seen[0][1]["User-Agent"]
    assert agent.startswith("recbole-hm4sr/")


def test_every_failure_is_counted_by_its_reason_and_listed(download):
    pages = {
        "ok": "good",
        "lies": "lies",
        "cut": "cut",
        "short": "short",
        "gone": "gone",
        "fails": "fails",
        "large": "large",
        "endless": "endless",
        "none": "",
        "odd": "ftp://127.0.0.1/x.png",
        "file": "file:///etc/hostname",
        "secret": "http://me:pass@127.0.0.1/x.png",
    }
    report = download(pages, max_bytes=2000)
    assert report.n_fetched == 1
    assert report.missing == {
        "not a whole image": 2,
        "the connection failed": 1,
        "status 404": 1,
        "status 500": 1,
        "too large": 2,
        "no address in the table": 1,
        "refused: neither http nor https": 2,
        "refused: name and password in the address": 1,
    }
    rows = (report.folder / "missing.tsv").read_text().splitlines()
    assert rows[0] == "item_id\treason\taddress"
    assert [row.split("\t")[0] for row in rows[1:]] == sorted(set(pages) - {"ok"})
    assert [path.name for path in report.folder.iterdir() if path.suffix == ".png"] == ["ok.png"]


@pytest.mark.parametrize("page", ["silent", "drips", "slowhead"])
def test_a_server_that_stalls_is_left_in_time(download, server, page):
    began = time.monotonic()
    report = download({"B1": page}, tries=1, total_seconds=0.5)
    assert report.missing == {"time-out": 1}
    # The page would drip for seconds; half a second is allowed, with room for a busy machine.
    assert time.monotonic() - began < 2.5
    assert len(server.seen) == 1


def test_what_may_help_is_tried_again_and_no_more_often_than_told(download, server):
    report = download({"a": "once", "b": "fails", "c": "gone"})
    assert report.n_fetched == 1
    assert paths(server).count("/once") == 2
    assert paths(server).count("/fails") == 3
    assert paths(server).count("/gone") == 1


def test_retry_after_rests_the_whole_host(download, server):
    began = time.monotonic()
    report = download({"a": "busy", "b": "good/1", "c": "good/2"}, workers=1, per_host=1)
    assert report.n_fetched == 3
    assert time.monotonic() - began >= 1.0
    assert paths(server) == ["/busy", "/good/1", "/good/2", "/busy"]


def test_a_server_that_asks_for_too_long_a_wait_is_left(download, server):
    report = download({"a": "closed"})
    assert report.missing == {"status 429": 1}
    assert paths(server) == ["/closed"]


def test_an_address_of_several_items_is_asked_for_once(download, server):
    report = download({"a": "good", "b": "good", "c": "good"})
    assert report.n_fetched == 3
    assert paths(server) == ["/good"]


def test_a_restart_asks_only_for_what_is_missing(download, server):
    pages = {"a": "good/a", "b": "good/b", "c": "once", "d": "gone"}
    first = download(pages, tries=1)
    assert first.n_fetched == 2
    with (first.folder / "images.jsonl").open("a") as file:
        file.write('{"token": "b", "rea')  # killed while writing
    (first.folder / ".x.png.77.new").write_bytes(b"half")
    before = len(server.seen)
    second = download(pages, tries=1)
    assert (second.n_kept, second.n_fetched, second.missing) == (2, 1, {"status 404": 1})
    assert sorted(paths(server)[before:]) == ["/gone", "/once"]
    assert not list(first.folder.glob("*.new"))
    before = len(server.seen)
    (first.folder / "a.png").write_bytes(PNG[:10])
    third = download({**pages, "b": "jpeg"}, tries=1)
    # a is cut, b has another address now, d is still missing.
    assert sorted(paths(server)[before:]) == ["/gone", "/good/a", "/jpeg"]
    assert (third.n_kept, third.n_fetched) == (1, 2)


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


def test_names_of_files():
    assert file_stem("B00-A.1") == "B00-A.1"
    assert file_stem("../a/b") == "%2E.%2Fa%2Fb"
    long = file_stem("x" * 400)
    assert len(long) < 200
    assert long != file_stem("x" * 401)


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(image_folder, "_MAX_PIXELS", 40)
    with pytest.raises(FetchError, match="too many pixels"):
        decode_image(PNG)


def test_a_host_that_never_answers_is_given_up(download):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: every connection is refused
        port = closed.getsockname()[1]
        pages = {f"i{n}": f"http://127.0.0.1:{port}/{n}" for n in range(30)}
        report = download(pages, tries=1, workers=1)
    assert report.missing == {"the connection failed": 20, "its host does not answer": 10}


def test_the_queue_keeps_its_limits_and_takes_hosts_in_turn():
    jobs = [Job(f"{host}{n}", host, ()) for host in "ab" for n in range(2)]
    queue = PoliteQueue(jobs, per_host=1, pause=0.0)
    first, second = queue.take(), queue.take()
    assert {first.host, second.host} == {"a", "b"}
    late = []
    waiting = threading.Thread(target=lambda: late.append(queue.take()))
    waiting.start()
    waiting.join(0.1)
    assert late == []  # both hosts are busy
    queue.done(second)
    waiting.join(5)
    assert late[0].host == second.host
    queue.stop()
    assert queue.take() is None


def test_a_pause_stands_between_two_jobs_of_a_host():
    queue = PoliteQueue([Job(str(n), "a", ()) for n in range(3)], per_host=9, pause=0.1)
    began = time.monotonic()
    for _ in range(3):
        queue.done(queue.take())
    assert time.monotonic() - began >= 0.2
    assert queue.take() is None


def test_a_table_that_names_an_item_twice_is_refused(tmp_path):
    table = write_lines(tmp_path / "t.item", "item_id:token\timage:token", [("a", "x"), ("a", "y")])
    with pytest.raises(DataError, match="item_id must be on one line each"):
        download_images(table, tmp_path / "images", column="image")


def test_a_column_that_is_not_there_is_named(tmp_path):
    table = write_lines(tmp_path / "t.item", "item_id:token", [("a",)])
    with pytest.raises(DataError, match="must have the column 'image'"):
        download_images(table, tmp_path / "images", column="image")


def test_the_command_reports_and_goes_on(server, tmp_path, capsys):
    from recbole_hm4sr import cli

    base = f"http://127.0.0.1:{server.server_port}/"
    rows = [("a", base + "good"), ("b", base + "gone")]
    table = write_lines(tmp_path / "toy.item", "item_id:token\timage:token", rows)
    words = ["prepare", "images", f"--items={table}", "--column=image", "--pause=0"]
    words += [f"--out={tmp_path / 'images'}", "--allow_private"]
    for new in (1, 0):
        with pytest.raises(SystemExit, match="0"):
            cli.main(words)
        printed = capsys.readouterr().out
        assert f"1 of 2 items have an image ({new} new)" in printed
        assert "1 missing: status 404" in printed
    assert paths(server).count("/good") == 1


@pytest.mark.parametrize("library", ["urllib3", "PIL"])
def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError, match=r"recbole-hm4sr\[prepare\]"):
        download_images(tmp_path / "t.item", tmp_path / "images", column="image")
