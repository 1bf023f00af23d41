"""Raw review files as Amazon's three releases write them, and what is prepared from them."""

import gzip
import json

from recbole_hm4sr.prepare.raw.amazon import prepare_amazon
from recbole_hm4sr.prepare.tables.job import Preparation

RELEASES = (2014, 2018, 2023)
# Midnight of 2014-07-14, and the days after it.
JULY = 1_405_296_000
DAY = 86400
INTER = ["user_id:token", "item_id:token", "timestamp:float"]


def write_raw(path, lines, packed=False):
    """Write lines (text or bytes), gzip if asked for. Returns the path."""
    content = b"".join(
        (line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines
    )
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    return path


def review(release, user, item, time=JULY):
    """A line of a review file; ``time`` in seconds."""
    text = 'five stars, "really"\nand again'
    if release == 2014:
        record = {"reviewerID": user, "asin": item, "reviewerName": "J. D.", "helpful": [0, 1]}
        record |= {"reviewText": text, "overall": 5.0, "unixReviewTime": time}
    elif release == 2018:
        record = {"overall": 5.0, "verified": True, "reviewerID": user, "asin": item}
        record |= {"style": {"Size:": " L"}, "reviewText": text, "unixReviewTime": time}
    else:
        record = {"rating": 5.0, "title": "ok", "text": text, "images": [], "asin": f"X{item}"}
        record |= {"parent_asin": item, "user_id": user, "timestamp": time * 1000}
    return json.dumps(record)


def reviews(release, rows):
    return [review(release, *row) for row in rows]


def item(release, name, title="A title", brand="A brand", paths=(("Root", "Kind"),), price=9.5):
    """A line of a metadata file."""
    paths = [list(path) for path in paths]
    address = f"http://images.example/{name}.jpg"
    if release == 2014:
        record = {"asin": name, "title": title, "brand": brand, "categories": paths}
        return repr(record | {"price": price, "imUrl": address, "salesRank": {"Beauty": 3}})
    if release == 2018:
        record = {"category": paths[0], "title": title, "brand": brand, "price": f"${price:,.2f}"}
        return json.dumps(record | {"asin": name, "imageURLHighRes": [address], "also_buy": []})
    images = [{"variant": "PT01", "large": "http://images.example/other.jpg"}]
    images.append({"variant": "MAIN", "large": "http://images.example/s.jpg", "hi_res": address})
    record = {"main_category": "All", "title": title, "store": brand, "categories": paths[0]}
    return json.dumps(record | {"price": price, "images": images, "parent_asin": name})


def read_rows(path):
    """The cells of an atomic file, its header first."""
    lines = path.read_bytes().decode().split("\n")
    assert lines.pop() == ""
    return [line.split("\t") for line in lines]


def prepare(folder, lines, meta=None, **options):
    """Prepare lines in ``folder``. Returns the data set's folder and its provenance."""
    paths = [write_raw(folder / "reviews.json", lines)]
    metas = [] if meta is None else [write_raw(folder / "meta.json", meta)]
    out = folder / "shop"
    job = Preparation(out, **{"core": 0, "threads": 1, **options})
    return out, prepare_amazon(paths, metas, job)


def dropped(provenance, step=0):
    found = provenance["steps"][step]["dropped"]
    return {reason: entry["count"] for reason, entry in found.items()}


def read_inter(out):
    header, *rows = read_rows(out / "shop.inter")
    assert header == INTER
    return [(user, name, int(time)) for user, name, time in rows]
