"""The report page: from the run's files alone, escaped, complete."""

import json
import re

import numpy as np
import pytest
from runfiles import some_facts, write_ranks, write_run

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.report.page import write_report

SCRIPT = "<script>document.title = 'run'</script>"


def test_the_page_shows_metrics_and_each_named_loss(tmp_path):
    page = write_report(write_run(tmp_path)).read_text()
    assert "<td>0.2500</td>" in page
    assert "<td>0.3500</td>" in page
    assert "<td>\u2013</td>" in page
    assert "Training loss: cross entropy" in page
    assert "1,234 trained parameters" in page
    assert "generated" not in page
    assert "holds no report.json of this version" in page


def test_a_page_names_no_folder_of_its_writer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = write_run(
        tmp_path / "run",
        settings=f"data_path: {tmp_path}/data\n",
        command=f"hm4sr train --data_path={tmp_path}/data",
    )
    page = write_report(run).read_text()
    assert "<td>hm4sr train --data_path=data</td>" in page
    assert ">data_path: data\n</pre>" in page
    assert str(tmp_path) not in page


def test_generated_data_is_flagged(tmp_path):
    page = write_report(write_run(tmp_path, generated=True)).read_text()
    assert "The data set is generated." in page
    assert "toy (GENERATED)" in page


def test_the_time_of_a_run_is_accounted_for(tmp_path):
    page = write_report(write_run(tmp_path, facts=some_facts())).read_text()
    # Of 10 s: 2 opening, 2 training, 1 validation, 1 testing, so 4 others; then 0.5 of the report.
    for name, seconds in (
        ("read data, build model", "2 s, 19 %"),
        ("training", "2 s, 19 %"),
        ("validation", "1 s, 9.5 %"),
        ("final test", "1 s, 9.5 %"),
        ("checkpoints and other", "4 s, 38 %"),
        ("for this report", "0.5 s, 4.8 %"),
    ):
        assert re.search(rf">{name}</text>[^$]*?>{seconds}</text>", page), name


def test_cases_show_history_scores_and_the_true_item(tmp_path):
    page = write_report(write_run(tmp_path, facts=some_facts())).read_text()
    assert "drawn with seed 7" in page
    assert "13 earlier items are not shown" in page
    assert "<time>2023-11-14 22:12</time>" in page
    assert '<time>2023-11-14 22:13</time><span class="soft">+ 60 s</span>' in page
    assert "true item at rank 12" in page
    assert "rank 12 with seen items kept, 11 with seen items removed" in page
    assert 'aria-label="score 0.50: id +1.00, text -0.50"' in page
    # From -0.5 to 3: zero at a seventh; the true item's id part is 1 of 3.5 wide.
    assert 'x="14.29" y="0" width="28.57"' in page
    assert "seen before" in page


def test_a_case_says_why_an_item_is_first(tmp_path):
    facts = some_facts(images={"i2": "AAAA"})
    (first,) = facts["cases"][0]["top"]
    facts["items"]["i2"] = {"title": f"Second {SCRIPT}", "categories": ""}
    first["reason"] = {"kind": "history", "item": "i2", "share": 0.42}
    page = write_report(write_run(tmp_path, facts=facts)).read_text()
    (reason,) = re.findall(r'<span class="reason">\s*(.*?)\s*</span>\s*</li>', page, re.DOTALL)
    assert '<img class="thumb" src="data:image/webp;base64,AAAA" alt="">' in reason
    assert "Because of <bdi" in reason
    assert "Second &lt;script&gt;" in reason
    assert "without it, the score would fall most (42 % of what lifts it above" in reason
    first["reason"] = {"kind": "text", "item": None, "share": 1.5}
    page = write_report(write_run(tmp_path, facts=facts)).read_text()
    assert (
        "<span>Because of its text (150 % of what lifts it above the median item).</span>" in page
    )
    first["reason"] = {"kind": "whole history", "item": None, "share": None}
    page = write_report(write_run(tmp_path, facts=facts)).read_text()
    assert "<span>Because of the whole history; no single item decides.</span>" in page


@pytest.mark.parametrize("where", ["dataset", "title", "categories", "user", "settings"])
def test_text_is_escaped_and_nothing_is_fetched(tmp_path, where):
    facts = some_facts()
    facts["items"]["i1"] |= {key: SCRIPT for key in ("title", "categories") if key == where}
    facts["cases"][0] |= {key: SCRIPT for key in ("user",) if key == where}
    changes = {"dataset": SCRIPT} if where == "dataset" else {}
    settings = f"a: {SCRIPT}\n" if where == "settings" else "a: 1\n"
    page = write_report(write_run(tmp_path, facts=facts, settings=settings, **changes)).read_text()
    assert page.count("<script") == 1  # the page's own
    assert "&lt;script&gt;" in page
    assert re.search(r"default-src 'none'; .*script-src 'sha256-[\w+/]{43}='", page)
    assert "http://" not in page
    assert "https://" not in page


def test_an_image_that_is_none_does_not_reach_the_page(tmp_path):
    facts = some_facts(images={"i1": "AAAA", "i9": '" onerror="alert(1)'})
    page = write_report(write_run(tmp_path, facts=facts)).read_text()
    assert 'src="data:image/webp;base64,AAAA"' in page
    assert "onerror" not in page


@pytest.mark.parametrize("facts", [some_facts(version=0), {"version": 1}])
def test_facts_of_another_version_are_left_out(tmp_path, facts):
    page = write_report(write_run(tmp_path, facts=facts)).read_text()
    assert "holds no report.json of this version" in page


def test_an_unfinished_run_has_no_report(tmp_path):
    with pytest.raises(DataError, match=f"^{tmp_path} must be .* finished run, but holds no m"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.json", "{", "metrics.json must be JSON, but"),
        ("metrics.json", "[]", "metrics.json must hold a JSON object, got list"),
        ("history.jsonl", "{\n", "the files of the run .* must be whole, but"),
        ("config.yaml", "a: [", "the files of the run .* must be whole, but"),
        ("report.json", "no", "report.json must be JSON, but"),
        ("test_ranks.npz", "no", "cannot read the ranks of a run"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, text, message):
    write_run(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_ranks_without_a_column_are_refused(tmp_path):
    write_run(tmp_path)
    np.savez(tmp_path / "test_ranks.npz", user=np.array(["u"]), rank_include=np.array([1]))
    with pytest.raises(DataError, match="but lacks gap_seconds, history_length, popularity, rank_"):
        write_report(tmp_path)


def test_a_run_without_ranks_or_epochs_has_a_page(tmp_path):
    write_run(tmp_path, facts=some_facts(cases=[]))
    (tmp_path / "test_ranks.npz").unlink()
    (tmp_path / "history.jsonl").write_text("")
    page = write_report(tmp_path).read_text()
    assert "No ranks of single users were kept" in page
    assert "No epoch was trained." in page
    assert 'id="cases"' not in page


PERMUTATION = {
    "metric": "NDCG@10",
    "users": 3,
    "of_users": 4,
    "right": {"include": 0.25, "exclude": 0.4},
    "shuffled": {
        "text": {"include": 0.2, "exclude": 0.1},
        "image": {"include": 0.26, "exclude": 0.4},
    },
    "left_out": {"events": {"include": 0.2, "exclude": 0.2}},
}


@pytest.mark.parametrize(("history", "lost"), [("include", "+0.0500"), ("exclude", "+0.3000")])
def test_what_a_shuffled_modality_costs_is_shown(tmp_path, history, lost):
    facts = some_facts(permutation=PERMUTATION)
    page = write_report(write_run(tmp_path, facts=facts, rank_history=history)).read_text()
    section = re.search(r'<section id="permutation">.*?</section>', page, re.DOTALL).group()
    words = {"include": "seen items kept", "exclude": "seen items removed"}[history]
    assert f"Test NDCG@10 that is lost, {words}" in section
    row = ["0.2000", "0.1000", "+0.0500, 20 %", "+0.3000, 75 %"]
    cells = "".join(f"<td>{cell}</td>" for cell in row)
    assert f'<th scope="row">text shuffled</th>{cells}' in section
    row = ["0.2000", "0.2000", "+0.0500, 20 %", "+0.2000, 50 %"]
    cells = "".join(f"<td>{cell}</td>" for cell in row)
    assert f'<th scope="row">without events</th>{cells}' in section
    assert f">{lost}</text>" in section
    assert "-0.0100, -4.0 %" in section
    assert "3 of 4 test users, drawn with seed 7." in section


def test_groups_of_few_users_are_grey_and_not_left_out(tmp_path):
    n = 21
    page_dir = write_run(tmp_path)
    columns = {
        "user": np.array([f"u{k}" for k in range(n)]),
        "target": np.array(["i"] * n),
        "rank_include": np.arange(1, n + 1),
        "rank_exclude": np.arange(1, n + 1),
        "history_length": np.array([4] * (n - 1) + [60]),
        "gap_seconds": np.array([60] * n),
        "target_count": np.array([5] * n),
        "popularity": np.array(["head"] * n),
    }
    write_ranks(page_dir, **columns)
    page = write_report(page_dir).read_text()
    section = re.search(r'<section id="groups">.*?</section>', page, re.DOTALL).group()
    assert section.count("<svg") == 1  # nothing but the history tells the targets apart
    assert re.search(r'<tr><th scope="row">history 3 to 5</th><td>20</td>', section)
    assert re.search(
        r'<tr class="faint"><th scope="row">history 51 or more</th><td>1</td>', section
    )
    assert re.search(r'<g class="faint">\s*<text class="label"[^>]*>51 or more</text>', section)
    assert "Grey: groups of fewer than 20 users: their means say little, and axes" in section


def test_a_run_without_the_shuffles_has_a_page_without_them(tmp_path):
    facts = some_facts()
    assert "permutation" not in facts
    assert 'id="permutation"' not in write_report(write_run(tmp_path, facts=facts)).read_text()


@pytest.mark.parametrize(
    ("history", "tile"),
    [
        ("include", "test NDCG@10, seen items kept</dt><dd>0.2500"),
        ("exclude", "test NDCG@10, seen items removed</dt><dd>0.3500"),
    ],
)
def test_a_tile_says_which_items_were_candidates(tmp_path, history, tile):
    assert tile in write_report(write_run(tmp_path, rank_history=history)).read_text()


def test_shares_of_a_score_are_said_to_be_no_importance(tmp_path):
    parts = {
        "streams": ["id", "text"], "users": 3, "share": [0.75, 0.25], "decides": [1.0, 0.0],
        "ranks": [[3.0, 1.0]], "target": [1.0, -0.5], "groups": {"history": [], "popularity": []},
    }  # fmt: skip
    page = write_report(write_run(tmp_path, facts=some_facts(parts=parts))).read_text()
    assert "These are shares of a sum, not importance" in page
    assert '<th scope="row">id</th><td>75 %</td><td>100 %</td>' in page


def test_a_page_of_an_older_run_needs_no_stages(tmp_path):
    write_run(tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    del metrics["stages"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    page = write_report(tmp_path).read_text()
    assert "checkpoints and other" not in page
    assert "2 s, 67 %" in page  # training, beside 1 s of validation
