"""What only the model itself can tell of a run, kept as ``report.json`` in the run's folder.

Gates and parts of scores need the model, the page does not: it is made from the run's files, so it
can be made again on a machine without the data. Users are sampled where there are many; the page
says how many.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.data.seen import mark_seen
from recbole_hm4sr.data.times import exact_seconds, whole_seconds
from recbole_hm4sr.evaluate.groups import DAY, Array
from recbole_hm4sr.model.explain import Reasons, find_reasons, median_items
from recbole_hm4sr.report.cases import (
    case_facts,
    case_tokens,
    draw,
    rank_of,
    top_items,
    without_history,
)
from recbole_hm4sr.report.items import describe_items, image_folder, make_thumbnails
from recbole_hm4sr.report.parts import WinningParts, score_parts, stream_names
from recbole_hm4sr.report.permutation import permutation_facts
from recbole_hm4sr.report.routing import GateRecorder, token_flags, window_gaps
from recbole_hm4sr.report.run_files import FACTS_FILE, FACTS_VERSION

if TYPE_CHECKING:
    from recbole_hm4sr.run.parts import RunParts

N_CASES = 10
# Users whose gates and scores are read: enough for means, few enough for a few seconds.
_MAX_USERS = 1000
_MAX_SCORES = 10**8  # users times items
_SCORES_AT_A_TIME = 2**22


def write_facts(session: "RunParts", images: Path | None = None) -> dict[str, Any]:
    """Collect what the model tells and write it into the run's folder.

    Args:
        session: The run, with its model at the best epoch.
        images: Folder of images named by item token; by default ``images`` beside the data.

    Returns:
        What was written.

    Raises:
        DataError: If the file cannot be written, or ``images`` was given and cannot be used.
    """
    facts = collect_facts(session)
    dataset = session.test_data._dataset
    folder = images or image_folder(dataset)
    if folder is not None and facts["cases"]:
        add_images(facts, folder, required=images is not None)
    save_facts(session.run_dir, facts)
    return facts


def save_facts(run_dir: Path, facts: dict[str, Any]) -> None:
    """Write ``report.json``."""
    write_text(run_dir / FACTS_FILE, json.dumps(facts, default=float) + "\n")


def add_images(facts: dict[str, Any], folder: Path, *, required: bool) -> None:
    """Add thumbnails of the items of the cases.

    Raises:
        DataError: If they are required and the folder has none, or pillow is missing.
    """
    try:
        facts["images"] = make_thumbnails(folder, case_tokens(facts["cases"]))
    except DataError as error:
        if required:
            raise
        facts["images_missing"] = str(error)


@torch.no_grad()
def collect_facts(session: "RunParts") -> dict[str, Any]:
    """Everything the page shows besides the run's own files."""
    began = time.perf_counter()
    seed = int(session.config["seed"])
    facts: dict[str, Any] = {
        "version": FACTS_VERSION,
        "seed": seed,
        "data": data_facts(session),
        "temporal": None,
        "interactive": None,
        "parts": None,
        "permutation": None,
        "cases": [],
        "items": {},
        "images": {},
        "images_missing": "",
    }
    if isinstance(session.test_data, FullSortEvalDataLoader):
        facts |= _model_facts(session, seed)
        facts["permutation"] = permutation_facts(session, seed)
        facts["items"] = describe_items(session.test_data._dataset, case_tokens(facts["cases"]))
    facts["seconds"] = round(time.perf_counter() - began, 3)
    return facts


def data_facts(session: "RunParts") -> dict[str, Any]:
    """What the run was on, in numbers."""
    dataset = session.train_data._dataset
    histories = dataset.inter_feat.histories
    times = whole_seconds(histories.columns[dataset.time_field], dataset.timestamp_unit)
    parts = (session.train_data, session.valid_data, session.test_data)
    modalities = []
    for name in dataset.modality_names:
        features = dataset.modality(name)
        modalities.append(
            {
                "name": name,
                "width": int(features.values.shape[1]),
                "encoder": features.encoder,
                "items": int(features.present.sum()),
            }
        )
    return {
        "users": dataset.user_num - 1,
        "items": dataset.item_num - 1,
        "interactions": len(histories),
        "first": int(times.min()),
        "last": int(times.max()),
        "whole_days": not bool((times % DAY).any()),
        "samples": [len(part._dataset) for part in parts],
        "modalities": modalities,
    }


def _model_facts(session: "RunParts", seed: int) -> dict[str, Any]:
    """Gates, parts and cases of sampled test users."""
    dataset = session.test_data._dataset
    n_samples, n_items = len(dataset), dataset.item_num
    n_users = min(_MAX_USERS, max(N_CASES, _MAX_SCORES // n_items))
    drawn = draw(n_samples, n_users, seed)
    cases = set(draw(n_samples, N_CASES, seed))
    rows = sorted(cases | set(drawn))
    reader = _Reader(session)
    step = max(1, min(_SCORES_AT_A_TIME // n_items, session.config["eval_batch_size"]))
    for begin in range(0, len(rows), step):
        reader.read(rows[begin : begin + step], cases)
    return {"users": len(rows), "of_users": n_samples, **reader.facts()}


class _Reader:
    """Passes samples through the model and keeps what the report needs of each."""

    def __init__(self, session: "RunParts") -> None:
        self.session = session
        self.dataset = session.test_data._dataset
        self.gates = GateRecorder(session.model)
        self.seen = mark_seen(self.dataset.inter_feat.histories, self.dataset.iid_field)
        train = session.train_data._dataset
        items = train.inter_feat.histories.columns[train.iid_field]
        seen = items[train.shown_interactions()]
        self.counts = torch.bincount(seen, minlength=train.item_num).numpy()
        self.tokens: list[tuple[Array, Array]] = []
        self.winners: list[WinningParts] = []
        self.cases: list[dict[str, Any]] = []

    def read(self, rows: list[int], cases: set[int]) -> None:
        """Score a batch of samples; those in ``cases`` are kept whole."""
        with self.gates.recording():
            interaction, scores = self.session.trainer.evaluator.score(self.session.test_data, rows)
        self._keep_times(interaction)
        samples = self.dataset.inter_feat[torch.tensor(rows)]
        targets = samples.targets
        ranked = scores
        if self.session.plan.run.rank_history == "exclude":
            ranked = without_history(scores, self.seen, targets)
        top = top_items(ranked)
        own = samples[self.dataset.iid_field].to(top.device)
        items = torch.cat([top, own[:, None]], dim=1)
        parts = score_parts(self.session.model, interaction, items, scores)  # [B, K + 1, M]
        lengths = (targets - samples.histories.starts[targets]).numpy()
        counts = self.counts[top[:, 0].cpu().numpy()]
        self.winners.append(WinningParts(parts[:, :-1], parts[:, -1], lengths, counts))
        places = torch.tensor([n for n, row in enumerate(rows) if row in cases], dtype=torch.long)
        if len(places):
            columns = interaction.interaction.items()
            batch = Interaction({name: values[places] for name, values in columns})
            self._keep_cases(
                batch, targets[places], scores[places], top[places], parts[places.numpy()]
            )

    def _keep_cases(
        self, interaction: Any, targets: Tensor, scores: Tensor, top: Tensor, parts: Array
    ) -> None:
        """Keep what is shown of single users."""
        removed = without_history(scores, self.seen, targets)
        reasons = find_reasons(
            self.session.model, interaction, top, scores.gather(1, top), median_items(scores)
        )
        own = self.dataset.inter_feat.histories.columns[self.dataset.iid_field][targets].tolist()
        for place, item in enumerate(own):
            case = case_facts(
                self.dataset,
                int(targets[place]),
                top=top[place].cpu().numpy(),
                top_parts=parts[place, :-1],
                own_parts=parts[place, -1],
                ranks=(rank_of(scores[place], item), rank_of(removed[place], item)),
                reasons=Reasons(*(values[place] for values in reasons)),
            )
            self.cases.append(case)

    def _keep_times(self, interaction: Any) -> None:
        config = self.session.config
        times = interaction[config["TIME_FIELD"] + config["LIST_SUFFIX"]].cpu().numpy()
        lengths = interaction[config["ITEM_LIST_LENGTH_FIELD"]]
        gaps, times = window_gaps(times, token_flags(lengths, times.shape[1]))
        unit = self.dataset.timestamp_unit
        self.tokens.append((exact_seconds(gaps, unit), whole_seconds(times, unit)))

    def facts(self) -> dict[str, Any]:
        """Gates, parts and cases of all samples read."""
        gaps, times = (np.concatenate(parts) for parts in zip(*self.tokens, strict=True))
        joined = WinningParts(
            *(
                np.concatenate([getattr(winner, name) for winner in self.winners])
                for name in ("top", "target", "history_length", "winner_count")
            )
        )
        streams = stream_names(self.session.model)
        return {
            "streams": list(streams),
            "temporal": self.gates.temporal_facts(gaps, times),
            "interactive": self.gates.interactive_facts(),
            "parts": joined.facts(streams) if len(streams) > 1 else None,
            "cases": self.cases,
        }
