"""Play the weeks after training in order: judge, then learn.

No interaction is learned from before it is judged: a model that ranks the targets of a week is
built from what was known before the week began, and users and items that come later have no row.
What a user did earlier in the week is history of the target, as it is in a shop.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import append_line, locked, read_lines
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.later import known_before
from recbole_hm4sr.data.later_rows import LaterRows
from recbole_hm4sr.data.splits import find_cuts
from recbole_hm4sr.data.times import DAY_SECONDS, PER_SECOND, as_date, exact_seconds
from recbole_hm4sr.data.vocabulary import FILE_NAME, Vocabulary
from recbole_hm4sr.later.choosing import choose_targets
from recbole_hm4sr.later.judging import judge
from recbole_hm4sr.later.learning import Known, Learner
from recbole_hm4sr.later.options import ReplayOptions
from recbole_hm4sr.later.policies import Policy, Weeks, make_policy, policies_of
from recbole_hm4sr.later.reading import (
    open_longer,
    plan_of_later,
    read_later,
    views_of,
    visit_gap,
)
from recbole_hm4sr.run.parts import set_threads
from recbole_hm4sr.run.plan import RunPlan
from recbole_hm4sr.run.process_state import kept_process_state
from recbole_hm4sr.train.checkpoint_folder import best_file

_log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
RESULTS = "results.jsonl"


@kept_process_state()
def replay(
    run_dir: str | Path,
    interactions: str | Path | None = None,
    *,
    out: str | Path | None = None,
    options: ReplayOptions | None = None,
    skip_bad: bool = False,
    on_row: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Play what came after a run, a week at a time, under several policies.

    Args:
        run_dir: Folder of a finished run.
        interactions: What came after the run's data; None for a run that was split by one moment:
            the test part of its own data is played then.
        out: Folder of the results; by default ``replay`` in the run's. Rows that are there are not
            played again.
        options: How they are played.
        skip_bad: Leave wrong rows of the file out; the log says how many, and why.
        on_row: Called for each week and policy, when its row is written.

    Returns:
        The rows, by week and policy, as ``results.jsonl`` has them.

    Raises:
        ConfigError: If an option is wrong, or the folder holds another replay.
        DataError: If a file cannot be read, or is not later than the run's data.
    """
    options, folder = options or ReplayOptions(), Path(run_dir)
    options.check()
    place = folder / "replay" if out is None else Path(out)
    later_file = None if interactions is None else Path(interactions)
    plan = plan_of_later(folder)
    set_threads(plan)
    vocabulary = Vocabulary.load(folder / FILE_NAME)
    learner = Learner(plan, plan.to_recbole())
    later = None
    if later_file is not None:
        later = read_later(later_file, plan, vocabulary, skip_bad=skip_bad)
    dataset = open_longer(plan, learner.config, vocabulary, later)
    weeks = _weeks(plan, dataset, later, options.days(), folder)
    busy = f"{place} must be written by one replay at a time; another one is at it"
    with locked(place / "replay.lock", refusal=busy):
        key = _key(folder, later_file, options, plan)
        done = _read_done(place / RESULTS, key)
        policies = list(_policies(folder, learner, weeks, options, vocabulary, place, key))
        return list(_play(policies, weeks, options, done, key, place, on_row))


def _weeks(
    plan: RunPlan, dataset: Any, later: LaterRows | None, days: float, folder: Path
) -> Weeks:
    log, unit = dataset.log, plan.data.timestamp_unit
    trained_until, start = _moments(plan, dataset, later, folder)
    step = max(1, round(days * DAY_SECONDS * PER_SECOND[unit]))
    n_weeks = (int(log.times.max()) - start) // step + 1
    starts = start + step * np.arange(n_weeks + 1)
    return Weeks(starts, trained_until, dataset)


def _moments(plan: RunPlan, dataset: Any, later: LaterRows | None, folder: Path) -> tuple[int, int]:
    """Until when the run's training may look, and when the first week begins."""
    log, unit = dataset.log, plan.data.timestamp_unit
    if later is None:
        shares = plan.values["eval_args"]["split"].get("GT")
        if shares is None:
            raise ConfigError(
                f"a replay without --interactions must be of a run whose eval_args split by one "
                f"moment (GT), which {folder} is not; name a file of what came after its data"
            )
        return find_cuts(log.times, tuple(shares))
    if not len(later):
        raise DataError("the interactions to play must be at least one, got none")
    start, newest = int(later.times[0]), int(log.times[dataset.later_rows < 0].max())
    if start <= newest:
        raise DataError(
            f"the interactions to play must be later than the run's data, which end at "
            f"{as_date(newest, unit)} ({newest}), but begin at {as_date(start, unit)} ({start}); "
            f"leave out what the run knows"
        )
    return start, start


def _policies(
    folder: Path,
    learner: Learner,
    weeks: Weeks,
    options: ReplayOptions,
    vocabulary: Vocabulary,
    place: Path,
    key: str,
) -> Iterator[Policy]:
    able = policies_of(learner)
    names = options.policies or able
    n_epochs = options.n_epochs or _best_epoch(folder)
    for name in names:
        policy_learner = learner
        if options.memory == "request" and name != "frozen":
            plan = plan_of_later(folder, memory_refresh="request")
            policy_learner = Learner(plan, plan.to_recbole())
        known = None
        if not learner.is_fitted_once:
            views = views_of(folder)
            view, checkpoint = _view_of(name, options, views)
            label = policy_learner.plan.values.get("memory_refresh", "none")
            path = folder / "checkpoint" / checkpoint
            known = Known.read(path, vocabulary, views=views, view=view, label=label)
        policy = make_policy(
            name,
            policy_learner,
            weeks,
            known,
            recipe=options.recipe,
            n_epochs=n_epochs,
            kept_as=place / f"{name}-{key}.pt",
        )
        if name not in able:
            _log.warning("%s is the same as another policy for %s: not played", name, folder)
            continue
        yield policy


def _view_of(name: str, options: ReplayOptions, views: Sequence[str]) -> tuple[str, str]:
    """The view whose best epoch a policy begins with, and the file of its checkpoint."""
    wanted = ["none"] if name == "frozen" else [options.memory, "week", "request"]
    view = next((it for it in wanted if it in views), views[0] if views else "")
    return view, best_file("" if not views or view == views[0] else view)


def _best_epoch(folder: Path) -> int:
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return int(metrics["best_epoch"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{folder} must be a run that has ended: {error}") from error


def _key(folder: Path, interactions: Path | None, options: ReplayOptions, plan: RunPlan) -> str:
    """What tells one replay from another: its run, its file and its options, but no policies."""
    parts = {
        "run": hash_file(folder / "checkpoint" / "best.pt"),
        "interactions": "" if interactions is None else hash_file(interactions),
        "options": [options.every, options.targets, options.memory, options.n_epochs],
        "recipe": [options.recipe.passes, options.recipe.replay],
        "seed": plan.values["seed"],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _read_done(path: Path, key: str) -> dict[tuple[int, str], dict[str, Any]]:
    rows = [row for _, row in read_lines(path) if row is not None]
    if any(row.get("replay") != key for row in rows):
        raise ConfigError(
            f"{path} holds another replay: of another run, file, --every, --targets, --memory, "
            f"--passes, --replay or --epochs; choose another --out"
        )
    return {(row["week"], row["policy"]): row for row in rows}


def _play(
    policies: Sequence[Policy],
    weeks: Weeks,
    options: ReplayOptions,
    done: dict[tuple[int, str], dict[str, Any]],
    key: str,
    place: Path,
    on_row: Callable[[dict[str, Any]], None] | None,
) -> Iterator[dict[str, Any]]:
    for policy in policies:
        left = [week for week in range(len(weeks)) if (week, policy.name) not in done]
        policy.take_up(left[0] if left else len(weeks))
    for week in range(len(weeks)):
        parts: dict[int, Any] = {}
        for policy in policies:
            row = done.get((week, policy.name))
            if row is None:
                row = {"replay": key, **_row(policy, week, weeks, options, parts)}
                append_line(place / RESULTS, row)
            if on_row is not None:
                on_row(row)
            yield row


def _row(
    policy: Policy, week: int, weeks: Weeks, options: ReplayOptions, parts: dict[int, Any]
) -> dict[str, Any]:
    """Let a policy learn what came before a week, and judge it on the week."""
    begin, end = (int(moment) for moment in weeks.starts[week : week + 2])
    learning_seconds = policy.learn(week)
    looks_until = weeks.trained_until if policy.is_frozen else begin
    if looks_until not in parts:  # policies that know the same share what is made of it
        parts[looks_until] = known_before(weeks.dataset, end, ends_before=looks_until)
    part, plan = parts[looks_until], policy.learner.plan
    inside = (part.log.times >= begin) & (part.log.times < end)
    targets = choose_targets(part.log, inside, options.targets, gap=visit_gap(plan))
    unit = plan.data.timestamp_unit
    row: dict[str, Any] = {
        "week": week,
        "policy": policy.name,
        "begins": int(exact_seconds(begin, unit)),
        "interactions": int(inside.sum()),
        "targets": len(targets),
        "learning_seconds": round(learning_seconds, 2),
        "metrics": {},
        "groups": {},
    }
    began = time.perf_counter()
    if len(targets):
        model = policy.learner.open(part, policy.known)
        judged = judge(policy.learner, model, part, targets, cut=weeks.trained_until)
        row |= {"metrics": judged.metrics(), "groups": judged.by_group()}
    return {**row, "judging_seconds": round(time.perf_counter() - began, 2)}
