"""The page: every number's sentence, its warnings, and HTML that is escaped and complete."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from recbole_hm4sr.check.facts import (
    DAY,
    FileFacts,
    LeakageFacts,
    interaction_facts,
    order_log,
)
from recbole_hm4sr.check.features import CategoryFacts, FeatureFacts, Signal
from recbole_hm4sr.check.findings import warnings
from recbole_hm4sr.check.inspect import Check, ModalityFacts
from recbole_hm4sr.check.page import as_text, write_page
from recbole_hm4sr.config.compose import recbole_defaults
from recbole_hm4sr.config.settings import DataSettings, RunSettings

NEW_YEAR = 1_704_067_200
NOW = NEW_YEAR + 365 * DAY
SETTINGS = DataSettings(
    modalities={"text": "npz"},
    text_fields=(),
    missing_features="error",
    timestamp_unit="s",
    same_visit_gap=0.0,
    tie_order="file",
    category_field=None,
    generated=False,
)
FILE = FileFacts(
    n_users=2, n_items=6, n_interactions=6, n_same_rows=0, n_repeats=0, n_ties=0, ascending_ties=0.0
)
LEAKAGE = LeakageFacts(
    n_targets=200,
    n_first_seen_later=0,
    n_unseen=0,
    later_training=0.25,
    n_tied=0,
    mean_tied=0.0,
    ascending_ties=0.0,
    n_repeated=0,
    n_repeated_last=0,
    n_same_row=0,
)
FEATURES = FeatureFacts(
    n_items=6,
    n_covered=6,
    covered_interactions=1.0,
    width=4,
    n_dead=0,
    n_constant=0,
    n_zero_rows=0,
    n_same_rows=0,
    n_near=0,
    n_queries=6,
    n_candidates=6,
    norms=(0.5, 1.0, 2.0),
    n_outliers=0,
    norm_bins=((0.5, 2), (1.0, 4)),
)
SIGNAL = Signal(n_pairs=10, n_possible=12, consecutive=0.5, shuffled=0.25, low=0.125, high=0.375)


def log_facts(**changes):
    times = NEW_YEAR + np.array([1, 2, 3, 4, 5, 6]) * DAY + 60
    users = np.array([1, 1, 1, 2, 2, 2])
    facts = interaction_facts(order_log(users, np.arange(6), times), max_length=50)
    return dataclasses.replace(facts, **changes)


def check(**changes):
    modality = ModalityFacts("text", "toy.text.npz", "test 1", 7, FEATURES, SIGNAL)
    whole = Check(
        dataset="toy",
        folder=Path("data") / "toy",
        settings=SETTINGS,
        max_length=50,
        split="LS valid_and_test",
        file=FILE,
        log=log_facts(),
        parts=(10, 200, 200),
        leakage=LEAKAGE,
        modalities=(modality,),
        categories=CategoryFacts(6, 6, 2, 1.0, 0, (), (("a", 3), ("b", 3))),
    )
    return dataclasses.replace(whole, **changes)


def with_features(**changes):
    features = dataclasses.replace(FEATURES, **changes)
    return (ModalityFacts("text", "toy.text.npz", "test 1", 7, features, SIGNAL),)


def test_layers_are_said_to_be_counted_by_the_last():
    (modality,) = with_features()
    assert "layers" not in as_text(check())
    layered = dataclasses.replace(modality, n_layers=7)
    assert "7; what follows is of the last" in as_text(check(modalities=(layered,)))


def test_sound_data_has_no_warning():
    text = as_text(check(), now=NOW)
    assert "A run can read it: no error, 0 warnings." in text
    assert "warning:" not in text
    assert "GENERATED" not in text
    assert "2024-01-02 to 2024-01-07 (5 days), UTC" in text
    assert "+0.2500, 95 % interval +0.1250 to +0.3750 (10 of 12 pairs" in text
    assert "6 of 6 items (100 %)" in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"file": dataclasses.replace(FILE, n_same_rows=2)}, "2 of 6 lines repeat the user, item"),
        (
            {"file": dataclasses.replace(FILE, n_ties=100, ascending_ties=0.99)},
            "99.0 % ascend by name",
        ),
        ({"log": log_facts(first=0)}, "the earliest time is 1970-01-01"),
        ({"log": log_facts(last=NOW + DAY)}, "which is in the future"),
        ({"log": log_facts(silence=(NEW_YEAR, NEW_YEAR + 40 * DAY))}, "nobody did anything from"),
        ({"log": log_facts(midnight_share=1.0)}, "dates without a time of day"),
        ({"log": log_facts(zero_gaps=0.48)}, "48 % of the gaps between neighbours"),
        ({"log": log_facts(n_short=1)}, "1 of 2 users have fewer than 3 interactions"),
        (
            {"leakage": dataclasses.replace(LEAKAGE, n_first_seen_later=20)},
            r"20 of 200 test targets \(10 %\) are items that the training part has only after",
        ),
        (
            {"leakage": dataclasses.replace(LEAKAGE, n_unseen=20)},
            "without any training interaction",
        ),
        ({"leakage": dataclasses.replace(LEAKAGE, n_tied=20)}, "here that of the file"),
        ({"leakage": dataclasses.replace(LEAKAGE, n_repeated=20)}, "repeat an item of the user's"),
        (
            {"leakage": dataclasses.replace(LEAKAGE, n_same_row=1)},
            "are duplicates of an interaction",
        ),
        ({"modalities": with_features(n_covered=4)}, "text: 2 of 6 items have no row"),
        ({"modalities": with_features(n_zero_rows=1)}, "text: 1 rows are zeros"),
        ({"modalities": with_features(n_dead=3)}, "text: 3 of 4 columns are zero for all items"),
        ({"modalities": with_features(n_constant=1)}, "text: 1 of 4 columns are the same for all"),
        ({"modalities": with_features(n_same_rows=1)}, "text: 1 of 6 rows equal an earlier row"),
        ({"modalities": with_features(n_near=2)}, "text: 2 of 6 sampled rows have another row"),
        (
            {"modalities": with_features(n_outliers=1)},
            "text: 1 rows have a norm far off the median",
        ),
        (
            {"categories": CategoryFacts(6, 5, 1, 1.0, 0, (), (("b", 3),))},
            "1 of 6 items have no category",
        ),
        (
            {"categories": CategoryFacts(6, 6, 1, 1.0, 0, ("all",), (("all", 6),))},
            "almost all items have the category 'all'",
        ),
    ],
)
def test_each_oddity_is_a_warning(changes, sentence):
    found = warnings(check(**changes), now=NOW)
    assert len(found) == 1
    assert re.search(sentence, found[0])
    assert _names_what_changes_it(found[0])


def _names_what_changes_it(sentence):
    """Whether a sentence names a setting that there is, or a command."""
    settings = {*recbole_defaults("HM4SR"), *DataSettings.names(), *RunSettings.names()}
    named = set(re.findall(r"\w+", sentence)) - {"text", "image", "user", "time"}
    return bool(named & settings) or bool(re.search("hm4sr (encode|prepare) ", sentence))


def test_no_signal_is_a_warning():
    signal = dataclasses.replace(SIGNAL, low=-0.01)
    modality = ModalityFacts("text", "x", "y", 7, FEATURES, signal)
    (found,) = warnings(check(modalities=(modality,)), now=NOW)
    assert "text: the features carry no signal" in found
    assert _names_what_changes_it(found)


def test_ties_that_are_shuffled_do_not_stand_in_the_order_of_names():
    settings = SETTINGS.changed(tie_order="shuffle")
    file = dataclasses.replace(FILE, n_ties=100, ascending_ties=1.0)
    assert warnings(check(file=file, settings=settings), now=NOW) == ()


def test_errors_come_first_and_spoiled_parts_are_left_out():
    broken = check(
        log=None, file=None, parts=(), leakage=None, modalities=(), categories=None,
        errors=("a.inter, line 2 is bad", "b.npz is bad"),
    )  # fmt: skip
    lines = as_text(broken, now=NOW).splitlines()
    assert lines[1] == "A run would stop: 2 errors, 0 warnings."
    assert lines[2:] == ["error: a.inter, line 2 is bad", "error: b.npz is bad"]


def test_the_html_page_has_the_same_sentences_and_a_plot_for_each_distribution(tmp_path):
    settings = SETTINGS.changed(generated=True)
    two = (*check().modalities, dataclasses.replace(check().modalities[0], name="image"))
    whole = check(settings=settings, modalities=two)
    page = write_page(whole, tmp_path / "page.html", now=NOW).read_text()
    assert "The data set is generated." in page
    # Time, lengths, norms of two modalities, intervals, categories.
    assert page.count("<figure>") == page.count("<svg") == 6
    assert page.count('class="whisker"') == 2
    assert "A run can read it: no error, 0 warnings." in page


@pytest.mark.parametrize(
    ("changes", "colour"),
    [
        ({}, "good"),
        ({"log": log_facts(n_short=1)}, "good"),  # the warning has a box of its own
        ({"errors": ("a.inter, line 2 is bad",)}, "bad"),
    ],
)
def test_the_verdict_is_green_unless_a_run_would_stop(tmp_path, changes, colour):
    page = write_page(check(**changes), tmp_path / "page.html", now=NOW).read_text()
    verdict = re.search(r'<p class="box (\w+)"><strong>A run', page)
    assert verdict.group(1) == colour
    assert ('<div class="box warn"><strong>Warnings' in page) == ("log" in changes)


def test_the_html_page_is_escaped_and_fetches_nothing(tmp_path):
    evil = check(dataset="<script>alert(1)</script>", errors=("<b>no</b>",))
    page = write_page(evil, tmp_path / "page.html", now=NOW).read_text()
    assert page.count("<script") == 1  # the page's own
    assert "<b>no" not in page
    assert re.search(r"default-src 'none'; .*script-src 'sha256-[\w+/]{43}='", page)
    assert "http://" not in page
    assert "https://" not in page
