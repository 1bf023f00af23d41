"""The server of images, and a download from it."""

import threading
from http.server import ThreadingHTTPServer

import pytest
from datafiles import write_lines

from recbole_hm4sr.prepare.images.download import ImageOptions, download_images

QUICK = ImageOptions(
    workers=4,
    per_host=4,
    pause=0.0,
    tries=3,
    backoff=0.01,
    connect_seconds=20.0,
    read_seconds=20.0,  # the machine may be busy
    total_seconds=60.0,
    allow_private=True,
)


@pytest.fixture
def server():
    """Its requests stand in ``seen``, slow pages that came to their end in ``ended``."""
    from imageserver import Handler

    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.daemon_threads = True
    one.seen, one.ended, one.leave = [], [], threading.Event()
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
