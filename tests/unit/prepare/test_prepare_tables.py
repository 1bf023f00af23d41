"""Tables in memory as the command takes files, and events of several kinds."""

import json

import pandas as pd
import pytest

import recbole_hm4sr
from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.interaction_columns import InteractionColumns, read_interaction_columns
from recbole_hm4sr.run.place import find_dataset

JULY = 1405296000  # 2014-07-14T00:00:00Z
ROWS = [("u1", 7, JULY), ("u2", 7, JULY + 1), ("u1", 8, JULY + 2)]
ITEMS = {"sku": [7, 8], "name": ["Red shoe", "Hat"], "tags": [["a b", "c"], None]}


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def frames():
    """The same table of interactions in pandas, three ways of times."""
    plain = pd.DataFrame(ROWS, columns=["who", "sku", "at"])
    moments = plain.assign(at=pd.to_datetime(plain["at"], unit="s"))
    aware = plain.assign(at=moments["at"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"))
    texts = plain.assign(at=moments["at"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    return {"s": plain, "moments": moments, "aware": aware, "date": texts}


@pytest.mark.parametrize("kind", ["s", "moments", "aware", "date"])
def test_data_frames_are_prepared_as_files_are(tmp_path, kind):
    done = recbole_hm4sr.prepare(
        frames()[kind],
        pd.DataFrame(ITEMS),
        out=tmp_path / "shop",
        user="who",
        item="sku",
        time="at",
        unit="date" if kind == "date" else "s",
        title="name",
        categories="tags",
        core=0,
    )
    assert done.folder == tmp_path / "shop"
    assert lines(done.folder / "shop.inter") == [
        "user_id:token\titem_id:token\ttimestamp:float",
        *(f"{user}\t{item}\t{time}" for user, item, time in ROWS),
    ]
    assert lines(done.folder / "shop.item") == [
        "item_id:token\ttitle:token_seq\tcategory:token\tcategories:token_seq",
        "7\tRed shoe\ta b > c\ta_b c",
        "8\tHat\t\t",
    ]
    written = json.loads((done.folder / "PROVENANCE.json").read_text(encoding="utf-8"))
    assert written["inputs"][0]["file"] == "interactions.parquet"
    assert done.provenance["steps"] == written["steps"]
    remembered = read_interaction_columns(done.folder)
    assert remembered == InteractionColumns("who", "sku", "at", "date" if kind == "date" else "s")
    assert find_dataset(done, {"epochs": 1}) == (
        "shop", {"epochs": 1, "data_path": str(tmp_path)}
    )  # fmt: skip


@pytest.mark.parametrize("package", ["polars", "pyarrow"])
def test_tables_of_other_packages_are_prepared_too(tmp_path, package):
    module = pytest.importorskip(package)
    columns = {"user_id": ["u", "v"], "item_id": ["i", "j"], "timestamp": [JULY, JULY + 1]}
    table = module.DataFrame(columns) if package == "polars" else module.table(columns)
    done = recbole_hm4sr.prepare(table, out=tmp_path / "shop", core=0)
    assert lines(done.folder / "shop.inter")[1:] == [f"u\ti\t{JULY}", f"v\tj\t{JULY + 1}"]


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(
        DataError, match="interactions must be a file, or a table of pandas, Polars"
    ):
        recbole_hm4sr.prepare(7, out=tmp_path / "shop")
    with pytest.raises(DataError, match=r"the file none\.csv does not exist"):
        recbole_hm4sr.prepare("none.csv", out=tmp_path / "shop")
    assert not (tmp_path / "shop").exists()


def write_events(path, *more):
    rows = ["u1,a,1405296000,buy", "u1,,1405296001,search", "u1,b,1405296002,view",
            "u2,a,1405296003,cart", "u2,c,soon,buy", "u2,b,1405296004,", *more]  # fmt: skip
    path.write_text("\n".join(["user_id,item_id,timestamp,what", *rows]) + "\n", encoding="utf-8")
    return path


def test_events_that_count_are_kept_and_all_are_counted(tmp_path, capsys):
    path = write_events(tmp_path / "log.csv")
    words = ["--out", tmp_path / "shop", "--event", "what", "--keep_events", "buy,cart"]
    words = ["prepare", "csv", "--interactions", path, "--core", 0, *words]
    with pytest.raises(SystemExit, match="0"):
        cli.main([str(word) for word in words])
    assert lines(tmp_path / "shop" / "shop.inter")[1:] == [
        "u1\ta\t1405296000",
        "u2\ta\t1405296003",
    ]
    step = json.loads((tmp_path / "shop" / "PROVENANCE.json").read_text())["steps"][0]
    assert step["events"] == {"buy": 1, "cart": 1}
    counts = {reason: entry["count"] for reason, entry in step["dropped"].items()}
    assert {reason: count for reason, count in counts.items() if "event" in reason} == {
        "event is search": 1,
        "event is view": 1,
        "no event": 1,
    }
    assert step["dropped"]["event is view"]["first"] == ["log.csv, line 4"]
    assert sum(counts.values()) == 4
    printed = capsys.readouterr().out
    assert "read interactions: events kept buy (1), cart (1)" in printed
    assert "event is view (1)" in printed
    remembered = read_interaction_columns(tmp_path / "shop")
    assert (remembered.event, remembered.keep_events) == ("what", ("buy", "cart"))


def test_of_many_events_the_rarest_are_counted_as_one(tmp_path):
    rows = [f"u3,x,1405296000,e{number}" for number in range(30) for _ in range(number + 1)]
    path = write_events(tmp_path / "log.csv", *rows)
    done = recbole_hm4sr.prepare(
        path, out=tmp_path / "shop", core=0, event="what", keep_events=["buy"]
    )
    dropped = done.provenance["steps"][0]["dropped"]
    named = {reason: it["count"] for reason, it in dropped.items() if reason.startswith("event is")}
    assert len(named) == 21
    assert named["event is e29"] == 30
    # 10 to 1 of e9 to e0, and one each of search, view and cart.
    assert named["event is another"] == sum(range(1, 11)) + 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"event": "what"},
            ConfigError,
            "--event and --keep_events must come together, got 'what'",
        ),
        ({"keep_events": ["buy"]}, ConfigError, "--event and --keep_events must come together"),
        ({"event": "kind", "keep_events": ["buy"]}, DataError, "must have the column 'kind'"),
        (
            {"event": "what", "keep_events": ["buy", "bought"]},
            DataError,
            "must name values of the column 'what', got 'bought', which it does not have; it has ",
        ),
    ],
)
def test_wrong_events_are_refused(tmp_path, options, error, message):
    path = write_events(tmp_path / "log.csv")
    with pytest.raises(error, match=message):
        recbole_hm4sr.prepare(path, out=tmp_path / "shop", core=0, **options)


def test_a_data_set_is_named_or_given_by_its_folder(tmp_path):
    assert find_dataset("sports", None) == ("sports", {})
    assert find_dataset(f"{tmp_path}/shop", {}) == ("shop", {"data_path": str(tmp_path)})
    with pytest.raises(ConfigError, match="dataset must be a name where data_path is given"):
        find_dataset(tmp_path / "shop", {"data_path": "elsewhere"})


def test_a_provenance_of_another_kind_says_nothing_of_columns(tmp_path):
    assert read_interaction_columns(tmp_path) is None
    for text in ("no JSON", "[]", '{"options": {"core": 5}}', '{"options": {"columns": null}}'):
        (tmp_path / "PROVENANCE.json").write_text(text, encoding="utf-8")
        assert read_interaction_columns(tmp_path) is None
    columns = {"user": "who", "unit": "ms", "later": 1}
    text = json.dumps({"options": {"columns": columns}})
    (tmp_path / "PROVENANCE.json").write_text(text, encoding="utf-8")
    assert read_interaction_columns(tmp_path) == InteractionColumns(user="who", unit="ms")
