"""The model card of a run: what the Hugging Face Hub shows of it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from recbole_hm4sr import __version__
from recbole_hm4sr.data.times import UNIT_WORDS
from recbole_hm4sr.model.registry import display_name
from recbole_hm4sr.run.hub_folder import LIBRARY, WEIGHTS, Manifest

# The Hub knows no task of recommending; a pipeline_tag of another would be wrong.
_TASK = {"type": "sequential-recommendation", "name": "Next-item recommendation"}
_PROTOCOLS = {"test_exclude": "seen items removed", "test_include": "seen items kept"}
_SHOWN = {"ndcg@10": "NDCG@10", "mrr@10": "MRR@10", "hit@10": "Hit@10"}
_GENERATED = (
    "> **The data are GENERATED.** They were made up by a program. The numbers below say that the "
    "model finds\n> the structure that was put in, and nothing about real shops.\n\n"
)
# The Hub's name for a licence that nobody has named.
NO_LICENSE = "unknown"
_AFTERWARDS = (
    "\n\nSince its training the run has taken in {n_later_files} files of new interactions. The "
    "numbers are from before."
)
_NO_LICENCE = (
    "No licence was named. Whoever publishes this folder writes one into `license:` above; the "
    "licence of the data set\nmay bind the weights too."
)


def model_card(
    manifest: Manifest,
    *,
    items: Iterable[str],
    n_items: int,
    first_time: int,
    has_memory: bool,
) -> str:
    """The card, in Markdown with its front matter.

    Args:
        manifest: What the folder says of itself.
        items: Two tokens, for the example.
        n_items: How many the model knows.
        first_time: Of the example, in the unit of the run's times.
        has_memory: Whether the model has a memory of interactions.
    """
    facts = manifest.facts
    license_id = facts["license"]
    head = yaml.safe_dump(_front_matter(manifest), sort_keys=False, allow_unicode=True, width=100)
    template = (Path(__file__).parent / "model_card.md").read_text(encoding="utf-8")
    page = template.format(
        model=display_name(manifest.model),
        dataset=manifest.dataset,
        generated=_GENERATED if manifest.generated else "",
        version=__version__,
        n_items=n_items,
        items=json.dumps(list(items), ensure_ascii=False),
        time=first_time,
        later=first_time + 60,
        unit=UNIT_WORDS[facts["timestamp_unit"]],
        ranked=f", {facts['epochs']} epochs, seed {facts['seed']}" if "seed" in facts else "",
        table=_table(facts),
        later_files=_AFTERWARDS.format(**facts) if facts["n_later_files"] else "",
        weights=WEIGHTS,
        n_parameters=facts.get("n_parameters", 0),
        manifest="config.json",
        memory=" and `memory/`" if has_memory else "",
        of_memory=" The memory tells which item followed which, and when, of all users together."
        if has_memory
        else "",
        licence=_NO_LICENCE if license_id == NO_LICENSE else f"`{license_id}`.",
    )
    return f"---\n{head}---\n\n{page}"


def _front_matter(manifest: Manifest) -> dict[str, Any]:
    tags = ["recommendation", "sequential-recommendation", "recbole", manifest.model.lower()]
    name = f"{manifest.dataset} (GENERATED)" if manifest.generated else manifest.dataset
    metrics = [
        {"type": metric, "value": facts[metric], "name": f"{_SHOWN[metric]}, {words}"}
        for key, words in _PROTOCOLS.items()
        for facts in [manifest.facts.get(key) or {}]
        for metric in _SHOWN
        if metric in facts
    ]
    result = {
        "task": _TASK,
        "dataset": {"type": manifest.dataset, "name": name},
        "metrics": metrics,
    }
    return {
        "library_name": LIBRARY,
        "license": manifest.facts["license"],
        "tags": tags + ["generated-data"] * manifest.generated,
        "datasets": [manifest.dataset],
        "metrics": [metric.partition("@")[0] for metric in _SHOWN],
        **({"model-index": [{"name": manifest.model, "results": [result]}]} if metrics else {}),
    }


def _table(facts: Mapping[str, Any]) -> str:
    """The metrics of the test part in both protocols."""
    tested: Mapping[str, float] = facts.get("test") or {}
    shown = [metric for metric in _SHOWN if metric in tested]
    rows = [
        f"| {' | '.join([words, *(f'{facts[key][metric]:.4f}' for metric in shown)])} |"
        for key, words in _PROTOCOLS.items()
        if facts.get(key)
    ]
    if not (shown and rows):
        return "The run was not tested."
    head = f"| | {' | '.join(_SHOWN[metric] for metric in shown)} |"
    return "\n".join([head, f"|---|{'---|' * len(shown)}", *rows])
