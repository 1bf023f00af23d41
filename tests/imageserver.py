"""A server of images on this machine that fails, stalls, lies and breaks, a page a habit."""

import io
import json
from http.server import BaseHTTPRequestHandler

import pytest

Image = pytest.importorskip("PIL.Image", reason="the extra prepare is not installed")
pytest.importorskip("urllib3", reason="the extra prepare is not installed")


def picture(kind="PNG", size=(8, 6)):
    """A real image; noise, so that it cannot shrink to a few bytes."""
    file = io.BytesIO()
    noise = bytes((n * n * 37 + n * 11) % 251 for n in range(size[0] * size[1] * 3))
    Image.frombytes("RGB", size, noise).save(file, kind)
    return file.getvalue()


PNG, JPEG = picture(), picture("JPEG")


class Handler(BaseHTTPRequestHandler):
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
        self.server.leave.wait(60)
        self.server.ended.append(self.path)

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
        self.server.ended.append(self.path)

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


def paths(server):
    return [path for path, _ in server.seen]


def ledger(folder):
    return [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]
