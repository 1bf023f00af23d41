"""LaTeX tables: what is marked, and that a page of the plain class article holds them."""

import dataclasses
import re
import shutil
import subprocess

import pytest

from recbole_hm4sr.compare.latex import as_latex
from recbole_hm4sr.compare.render import write_tables
from recbole_hm4sr.compare.summary import ALL, Row, Score, Summary
from recbole_hm4sr.compare.table import Entry, Table, details_table, main_table
from recbole_hm4sr.evaluate.groups import GROUP_NAMES
from recbole_hm4sr.evaluate.statistics import PairedTest

METRICS = ("NDCG@10", "MRR@10", "Hit@10")
LONG = (
    "HM4SR without temporal experts, text and the contrast of ids, trained_for_a_shop-of-tomorrow"
)
PATH = "/data/of/a/person/with/long_names_of_folders/runs/compare-mine/my-shop/HM4SR/seed-1/config"


def row(label, mean, p, *, seeds=(1, 2, 3), metrics=METRICS, reason=""):
    test = PairedTest(0.01, -0.005, 0.025, 0.08, p, 22363)
    return Row(
        label=label,
        seeds=seeds,
        wanted_seeds=(1, 2, 3),
        shared_seeds=seeds,
        reason=reason,
        n_trials=3,
        searched_on="my-other-shop",
        scores={(g, m): Score(mean, 0.0012) for g in (ALL, *GROUP_NAMES) for m in metrics},
        relative=dict.fromkeys(metrics, -0.123),
        tests={m: (test, p) for m in metrics if label != "SASRec"},
        seconds_per_epoch=1234.5,
        n_parameters=123_456_789,
        peak_memory_mb=98_765,
    )


def summary(rows, *, metrics=METRICS, columns=(), history="include", baseline="SASRec"):
    return Summary(
        dataset="my-shop_2",
        rank_history=history,
        chosen_by="include",
        tie_order="file",
        generated=True,
        baseline=baseline,
        metrics=metrics,
        columns=columns,
        seeds=(1, 2, 3),
        n_items=12101,
        group_sizes=dict.fromkeys((ALL, *GROUP_NAMES), 22363),
        small_groups=frozenset(("head", "gap over a year")),
        rows=tuple(rows),
        notes=(f"Trained by the searches, and tested here: {PATH}; use_temporal_moe is 100 %.",),
    )


ROWS = [row("SASRec", 0.041, 1.0), row("HM4SR", 0.05, 0.01), row("MMSR", 0.045, 0.3)]


def test_best_second_and_significance_are_marked():
    latex = as_latex([main_table(summary(ROWS))])
    dots = r"\,{\scriptsize$\pm$0.0012}"
    assert rf"HM4SR & \textbf{{0.0500}}{dots}\rlap{{$^{{*}}$}} & " in latex
    assert rf"MMSR & \underline{{0.0450}}{dots} & " in latex
    assert rf"SASRec & 0.0410{dots} & " in latex
    assert r"$^{*}$: differs from SASRec at p < 0.05 (paired".replace("<", r"\textless{}") in latex
    assert r"model & NDCG@10 & MRR@10 & Hit@10 \\" in latex
    assert r"\label{tab:my-shop_2-generated-data-results-seen-items-kept-file}" in latex


def test_of_two_rows_none_is_second_and_nothing_is_marked_without_a_test():
    latex = as_latex([main_table(summary([ROWS[0], row("B", 0.05, 0.2)]))])
    assert r"\underline" not in latex
    assert "$^{*}$" not in latex


def test_the_columns_are_those_asked_for_in_their_order():
    latex = as_latex([main_table(summary(ROWS, columns=("parameters", "MRR@10", "difference")))])
    assert r"model & parameters & MRR@10 & vs SASRec \\" in latex
    assert r"HM4SR & 123,456,789 & \textbf{0.0500}" in latex
    assert r"& $-$12.3 \% \\" in latex


def test_the_details_have_all_columns():
    columns = details_table(summary(ROWS)).columns
    assert columns[:5] == ("model", "seeds", "trials", "NDCG@10", "vs SASRec")
    assert columns[-3:] == ("s/epoch", "parameters", "peak MiB")


def test_a_row_without_a_result_has_dashes_and_its_reason_below():
    rows = [*ROWS, row("C", 0.0, 1.0, seeds=(), reason="it has no & column")]
    for columns in ((), ("NDCG@10",)):
        latex = as_latex([main_table(summary(rows, columns=columns))])
        assert r"C & - " in latex
        assert r"C: it has no \& column." in latex


def test_negative_numbers_have_a_minus_sign():
    entries = (Entry("-0.5 %"), Entry("a-b")), (Entry("-"), Entry("-0.1 to -0.2"))
    latex = as_latex([Table("t", ("a", "b"), entries, (), n_labels=0)])
    assert r"$-$0.5 \% & a-b \\" in latex
    assert r"- & $-$0.1 to $-$0.2 \\" in latex


WIDE = ("NDCG@5", "NDCG@10", "NDCG@20", "MRR@10", "Hit@5", "Hit@10", "Precision@10", "Recall@50")
GRIDS = {
    "three models": [summary(ROWS, history=history) for history in ("include", "exclude")],
    "one model": [summary(ROWS[:1])],
    "long names, many rows and metrics": [
        summary(
            [row(f"{LONG} {n}", 0.01 * n, 0.01, metrics=WIDE) for n in range(9)],
            metrics=WIDE,
            baseline=f"{LONG} 0",
        )
    ],
    "many columns": [summary(ROWS, columns=("seeds", "trials", *METRICS, "difference", "memory"))],
    "rows without a result": [
        summary([*ROWS, row("A" * 60, 0, 1, seeds=(), reason=f"delete the older of {PATH}" * 3)])
    ],
}


@pytest.mark.parametrize("size", [10, 12])
def test_a_page_holds_the_tables(tmp_path, size):
    if not shutil.which("pdflatex"):
        pytest.skip("needs pdflatex (Debian: texlive-latex-recommended)")
    inputs = []
    for number, summaries in enumerate(GRIDS.values()):
        # Names of their own, since labels are made of them.
        own = [dataclasses.replace(summary, dataset=f"shop_{number}") for summary in summaries]
        files = [
            path for path in write_tables(own, tmp_path / str(number)) if path.suffix == ".tex"
        ]
        assert len(files) == 4
        inputs += [rf"\input{{{number}/{path.name}}}\clearpage" for path in files]
    (tmp_path / "page.tex").write_text(
        rf"\documentclass[{size}pt]{{article}}\usepackage{{booktabs}}\begin{{document}}"
        + "\n".join(["Text.", *inputs, r"\end{document}"])
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "page.log").read_text(errors="replace")
    assert re.findall(r"Overfull .*|.*Float too large.*|.*multiply defined.*", log) == []
