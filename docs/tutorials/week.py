"""A shop's week: CSV in, trained, served; new items; a week judged and learned from; swapped in.

    python docs/tutorials/week.py FOLDER

It needs ``pip install 'recbole-hm4sr[prepare,serve]'``, makes up a shop in an empty folder and goes
through a week of it with the commands that a cron would call. Put your own files in place of
``write_shop`` and ``write_week``.
"""

import csv
import json
import os
import random
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from recbole_hm4sr.cli import main

KINDS = ["shoes", "tents", "bikes"]
COLUMNS = "--user=customer --item=sku --time=when --unit=date"
ITEM_COLUMNS = "--items_item=sku --title=name --categories=group"
# Few epochs of a small model, so that all of it takes a minute; leave both out.
SMALL = "--hidden_size=16 --inner_size=32 --epochs=3"
NEW_ITEM = "P900"
DECEMBER = 1796083200  # the first of December 2026, in seconds since 1970


def write_csv(path, header, rows):
    """Write a table."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_shop():
    """Eight weeks of orders of sixty customers, each of whom buys one kind of product."""
    chance = random.Random(1)
    products = [(f"P{n:03d}", f"Model {n} {KINDS[n % 3]}", KINDS[n % 3]) for n in range(30)]
    write_csv("products.csv", ["sku", "name", "group"], products)
    orders = []
    for customer in range(60):
        own = [sku for sku, _, kind in products if kind == KINDS[customer % 3]]
        for week, sku in enumerate(chance.sample(own, 8)):
            day = f"2026-{10 + week // 4:02d}-{1 + 7 * (week % 4) + customer % 7:02d}"
            orders.append((f"customer {customer}", sku, f"{day} 12:{customer:02d}:00"))
    write_csv("orders.csv", ["customer", "sku", "when"], sorted(orders, key=lambda row: row[2]))


def write_week():
    """The orders of the week: each customer's next, new ones, and the new tent."""
    chance, orders = random.Random(2), []
    for customer in range(75):
        kind = customer % 3
        wanted = [f"P{n:03d}" for n in chance.sample(range(kind, 30, 3), 2)]
        if kind == 1:
            wanted[1] = NEW_ITEM
        for hour, sku in enumerate(wanted):
            day = f"2026-12-{2 + customer % 5:02d}"
            orders.append(
                (f"customer {customer}", sku, f"{day} {10 + hour}:{customer % 60:02d}:00")
            )
    write_csv("week.csv", ["customer", "sku", "when"], orders)


def hm4sr(line):
    """What ``hm4sr LINE`` does on a command line, in this process."""
    print(f"\n$ hm4sr {line}", flush=True)
    try:
        main(shlex.split(line))
    except SystemExit as end:
        if end.code:
            raise


def link(run):
    """Set the link ``current``, which is served, to a run in one step."""
    Path("next").unlink(missing_ok=True)
    Path("next").symlink_to(run)
    Path("next").replace("current")


class Service:
    """``hm4sr serve`` in a process of its own."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        words = ["serve", "--run=current", f"--port={self._port}", "--reload_on_change"]
        print(f"\n$ hm4sr {shlex.join(words)} &", flush=True)
        self._log = Path("service.log").open("w", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recbole_hm4sr", *words], stdout=self._log, stderr=self._log
        )

    def ask(self, path, body=None):
        """What it answers; it needs some seconds to start."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        address = f"http://127.0.0.1:{self._port}{path}"
        while True:
            try:
                request = urllib.request.Request(address, data, headers)
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # its run is not loaded yet
                    raise
            except (urllib.error.URLError, ConnectionError):
                pass
            assert self._process.poll() is None, "the service has ended, see service.log"
            time.sleep(0.5)

    def version(self):
        """Of what is served."""
        return self.ask("/ready")["version"]

    def wait_for_another(self, version):
        """Until another version is served than one."""
        while self.version() == version:
            time.sleep(0.2)

    def recommend(self, *items, k=10):
        """The items of a list for somebody who has bought some this morning."""
        history = [{"item": sku, "time": DECEMBER + n * 3600} for n, sku in enumerate(items)]
        body = {"histories": [history], "k": k, "at": DECEMBER + 12 * 3600}
        answer = self.ask("/recommend", body)
        return [entry["item"] for entry in answer["users"][0]["items"]]

    def stop(self):
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._log.close()


def monday():
    """The first training, from CSV files; then the service."""
    write_shop()
    hm4sr(
        f"prepare csv --interactions=orders.csv {COLUMNS} --items=products.csv {ITEM_COLUMNS} "
        f"--out=data/shop"
    )
    hm4sr(
        f"train --model=Momento --dataset=shop --data_path=data --run_dir=runs/first {SMALL} "
        f"--request_time=target --show_progress=false"
    )
    link("runs/first")


def tuesday(service):
    """A tent that nobody has bought yet: recommended to those who buy tents, without training."""
    Path("new.item").write_text(
        "item_id:token\ttitle:token_seq\tcategory:token\tcategories:token_seq\n"
        f"{NEW_ITEM}\tModel 900 tents\ttents\ttents\n",
        encoding="utf-8",
    )
    before = service.version()
    hm4sr("add-items --run=runs/first --items=new.item")
    service.wait_for_another(before)
    shown = service.recommend("P001", "P004", "P007")
    print(f"to one who buys tents: {', '.join(shown)}")
    print(f"the new tent is {'in' if NEW_ITEM in shown else 'not in'} the list")


def sunday(service):
    """The week's orders: what the lists were worth, then learned from."""
    write_week()
    hm4sr("evaluate --run=runs/first --interactions=week.csv --page=judged")
    before = service.version()
    hm4sr("update --run=runs/first --interactions=week.csv")
    service.wait_for_another(before)
    print("the service has taken the update over")


def next_monday(service):
    """A whole training on the longer data that begins from what is known, swapped in."""
    write_csv("new.csv", ["sku", "name", "group"], [(NEW_ITEM, "Model 900 tents", "tents")])
    hm4sr(
        f"prepare csv --interactions=week.csv {COLUMNS} --items=new.csv {ITEM_COLUMNS} "
        f"--out=data/shop --append"
    )
    longer = max(path.name for path in Path("data").glob("shop-*"))
    hm4sr(
        f"train --model=Momento --dataset={longer} --data_path=data --run_dir=runs/second {SMALL} "
        f"--request_time=target --init_from=runs/first --show_progress=false"
    )
    before = service.version()
    link("runs/second")
    service.wait_for_another(before)
    print(f"swapped in: {longer} is served")


def week(folder):
    """All of it, in a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    monday()
    service = Service()
    try:
        print("to one who buys tents:", ", ".join(service.recommend("P001", "P004", "P007")))
        tuesday(service)
        sunday(service)
        next_monday(service)
    finally:
        service.stop()


if __name__ == "__main__":
    week(sys.argv[1])
