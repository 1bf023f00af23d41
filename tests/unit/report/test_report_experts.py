"""What a report draws of experts, components and cases: what varies, what is large, two cases."""

import re

import pytest
from runfiles import some_facts, write_run

from recbole_hm4sr.report.components import components_of, largest
from recbole_hm4sr.report.expert_sections import interactive_section, temporal_section
from recbole_hm4sr.report.page import write_report


def temporal(**explained):
    """Routes of two experts that follow the gap, and the hour a little."""
    rows = {
        "gap": [("1 to 7 days", 0.2), ("7 to 30 days", 0.6)],
        "hour": [("0", 0.500), ("1", 0.509)],
        "weekday": [("Mon", 0.40), ("Tue", 0.45)],
    }
    groups = {
        name: [
            {"label": label, "n": 9, "mean": [mean, 1 - mean], "variance": 0.1}
            for label, mean in own
        ]
        for name, own in rows.items()
    }
    shares = {"gap": 0.66, "hour": 0.5, "weekday": 0.009, **explained}
    facts = {"experts": 2, "tokens": 18, "mean": [0.5, 0.5], "groups": groups}
    return some_facts(temporal={**facts, "explained": shares})


def test_only_routes_that_vary_are_drawn():
    # The hour explains half of the variance, but its means are less than 0.01 apart.
    section = temporal_section(temporal())
    assert [chart.title for chart in section.charts] == [
        "Route by the time since the interaction before"
    ]
    (level,) = [text for text in section.words if "hardly follow" in text]
    assert level.startswith(
        "The weights hardly follow the hour of the day or the day of the week, so no chart"
    )
    assert len(section.tables[0].rows) == 3  # the shares of all
    section = temporal_section(temporal(weekday=0.01))
    assert len(section.charts) == 2


def test_experts_of_equal_weights_are_a_sentence():
    facts = {
        "streams": ["id", "text"], "tokens": 9, "mean": [[0.5, 0.5], [0.503, 0.497]],
        "deviation": [[0.001, 0.001], [0.009, 0.002]], "strength": [0.0, 1.0],
    }  # fmt: skip
    section = interactive_section(some_facts(interactive=facts))
    assert section.charts == ()
    assert any("have not specialised" in text for text in section.words)
    # Equal on the mean, and different from item to item.
    facts["deviation"] = [[0.001, 0.001], [0.01, 0.01]]
    section = interactive_section(some_facts(interactive=facts))
    assert len(section.charts) == 1
    assert not any("have not specialised" in text for text in section.words)


def test_the_smallest_components_are_drawn_as_one():
    drawn = largest(["a", "b", "c", "d"], [[3.0, -1.0, 0.2, 0.5], [3.0, 1.0, 0.2, -0.5]], 3)
    assert drawn.names == ("a", "b", "2 others")
    assert drawn.fold([3.0, -1.0, 0.2, 0.5]) == [3.0, -1.0, pytest.approx(0.7)]
    few = largest(["a", "b"], [[1.0, 2.0]], 3)
    assert (few.names, few.fold([1.0, 2.0])) == (("a", "b"), [1.0, 2.0])


def test_no_two_components_of_a_page_have_one_colour(tmp_path):
    names = [f"part {number}" for number in range(12)]
    facts = some_facts(streams=names)
    (case,) = facts["cases"]
    for entry in (*case["top"], case["target"]):
        entry["parts"] = [float(12 - number) for number in range(12)]
    assert components_of(facts).names == (*names[:7], "5 others")
    page = write_report(write_run(tmp_path, facts=facts)).read_text()
    cases = page[page.index('<section id="cases">') :]
    legend = re.search(r'<ul class="legend">.*?</ul>', cases, re.DOTALL).group()
    assert re.findall(r'"key k(\d)"></span>([^<]*)<', legend) == [
        *((str(number), name) for number, name in enumerate(names[:7])), ("7", "5 others")
    ]  # fmt: skip
    assert "5 others +15.00" in page  # 5 + 4 + 3 + 2 + 1


def test_two_cases_are_shown_and_the_rest_is_folded(tmp_path):
    (case,) = some_facts()["cases"]
    facts = some_facts(cases=[{**case, "user": f"u{number}"} for number in range(5)])
    page = write_report(write_run(tmp_path, facts=facts)).read_text()
    cases = re.search(r'<section id="cases">.*?</section>', page, re.DOTALL).group()
    assert "5 cases" in cases
    assert re.findall(r"<h3>User <bdi>(\w+)</bdi>", cases) == ["u0", "u1"]
    folded = re.findall(r"<details>\s*<summary>User <bdi>(\w+)</bdi>\s*<span[^>]*>([^<]*)<", cases)
    assert folded == [(f"u{number}", "true item at rank 12") for number in (2, 3, 4)]
