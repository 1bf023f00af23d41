"""How a model's mixtures of experts choose: their gates, on the histories of sampled users."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_hm4sr.evaluate.groups import DAY, GAPS, Array
from recbole_hm4sr.model.capabilities import MODALITY_WEIGHTS, TIME_ROUTES, Probe, probes
from recbole_hm4sr.report.buckets import (
    HOURS,
    MONTHS,
    WEEKDAYS,
    day_of_week,
    hour_of_day,
    month_of_year,
)

_N_MOMENTS = 24  # parts of the data's time, at most


class GateRecorder:
    """Keeps what the gates of a model say while it scores.

    Args:
        model: Any model; of one without probes nothing is kept.
    """

    def __init__(self, model: nn.Module) -> None:
        self.probes = {
            name: probe
            for name, probe in probes(model).items()
            if name in (TIME_ROUTES, MODALITY_WEIGHTS)
        }
        self.values: dict[str, list[Array]] = {name: [] for name in self.probes}

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Keep the gates of every token that passes through the model inside."""
        hooks = [
            probe.module.register_forward_pre_hook(partial(self._keep, name, probe))
            for name, probe in self.probes.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _keep(self, name: str, probe: Probe, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        self.values[name].append(_array(probe.read(*inputs)))

    def _read(self, name: str) -> Array | None:
        values = self.values.get(name)
        return np.concatenate(values) if values else None

    def interactive_facts(self) -> dict[str, Any] | None:
        """Mean and spread of each modality's weights of the experts; None without the mixture."""
        weights = self._read(MODALITY_WEIGHTS)  # [T, M, E]
        if weights is None:
            return None
        probe = self.probes[MODALITY_WEIGHTS]
        strength = np.ones(len(probe.names)) if probe.strength is None else _array(probe.strength)
        return {
            "streams": list(probe.names),
            "tokens": len(weights),
            "mean": weights.mean(axis=0).tolist(),
            "deviation": weights.std(axis=0).tolist(),
            "strength": strength.tolist(),
        }

    def temporal_facts(self, gaps: Array, times: Array) -> dict[str, Any] | None:
        """How the routes follow gaps and the calendar; None without the mixture.

        Args:
            gaps: Seconds since the interaction before; below 0 for the first of a window. Shape
                ``[T]``.
            times: Whole seconds since the epoch. Shape ``[T]``.
        """
        routes = self._read(TIME_ROUTES)  # [T, E]
        if routes is None:
            return None
        later = gaps >= 0
        groups = {"gap": group_routes(routes[later], GAPS.number(gaps[later]), GAPS.labels)}
        if (times % DAY).any():
            groups["hour"] = group_routes(routes, hour_of_day(times), HOURS)
        groups["weekday"] = group_routes(routes, day_of_week(times), WEEKDAYS)
        groups["month"] = group_routes(routes, month_of_year(times), MONTHS)
        moments, labels = split_span(times)
        groups["moment"] = group_routes(routes, moments, labels)
        return {
            "experts": routes.shape[1],
            "tokens": len(routes),
            "mean": routes.mean(axis=0).tolist(),
            "groups": groups,
            "explained": {name: explained_share(group) for name, group in groups.items()},
        }


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().float().cpu().numpy(), dtype=np.float64)


def group_routes(routes: Array, numbers: Array, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Mean route of each group that has a token, with the spread inside it.

    Args:
        routes: Shape ``[T, E]``.
        numbers: Group of each token. Shape ``[T]``.
        labels: Names of the groups.
    """
    rows = []
    for number, label in enumerate(labels):
        inside = routes[numbers == number]
        if len(inside):
            rows.append(
                {
                    "label": label,
                    "n": len(inside),
                    "mean": inside.mean(axis=0).tolist(),
                    "variance": float(inside.var(axis=0).sum()),
                }
            )
    return rows


def explained_share(rows: list[dict[str, Any]]) -> float:
    """The share of the routes' variance that lies between the groups (eta squared).

    1 if the group says all of the route, 0 if nothing or if all routes are equal.
    """
    if not rows:
        return 0.0
    sizes = np.array([row["n"] for row in rows], dtype=np.float64)
    means = np.array([row["mean"] for row in rows])  # [G, E]
    within = float(sizes @ np.array([row["variance"] for row in rows]))
    overall = sizes @ means / sizes.sum()
    between = float(sizes @ ((means - overall) ** 2).sum(axis=1))
    # Below that the routes differ by rounding alone.
    return between / (between + within) if between + within > 1e-12 * sizes.sum() else 0.0


def split_span(times: Array) -> tuple[Array, tuple[str, ...]]:
    """Equal parts of the time from the first to the last moment, named by their first day."""
    first, last = int(times.min()), int(times.max())
    n_parts = max(1, min(_N_MOMENTS, (last - first) // DAY))
    width = (last - first) / n_parts or 1
    numbers = np.minimum((times - first) // width, n_parts - 1).astype(np.int64)
    begins = [np.datetime64(round(first + width * part), "s") for part in range(n_parts)]
    return numbers, tuple(str(begin.astype("datetime64[D]")) for begin in begins)


def window_gaps(times: Array, is_token: Array) -> tuple[Array, Array]:
    """Gaps and times of the tokens of padded windows, row after row.

    Args:
        times: In any unit, padded on the right. Shape ``[B, L]``, int64.
        is_token: Where a window holds a token. Shape ``[B, L]``.

    Returns:
        Time since the token before, -1 for the first of a window; and times. Shape ``[T]``.
    """
    gaps = np.diff(times, axis=1, prepend=times[:, :1])
    gaps[:, 0] = -1
    return gaps[is_token], times[is_token]


def token_flags(lengths: Tensor, width: int) -> Array:
    """True where a padded window of that length holds a token. Shape ``[B, L]``."""
    return np.asarray((torch.arange(width) < lengths.cpu()[:, None]).numpy())
