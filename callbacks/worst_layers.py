"""Which layers most need looking at: a score from each symptom that a Profile shows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..statistics.profile import Profile

HEALTHY = "nothing stands out"
# What makes a score of 1.
_SHARE = 0.5  # of dead units, of saturated values
_UPDATE = 1e-3  # times or over ten of it: ‖update‖ / ‖weight‖ between 1e-4 and 1e-2
_DEPTH_DECADES = 2.0  # outputs and their gradients from the network's median
_VARIANCE_DECADES = 0.5  # batch variances from the moving ones
# Decades that nothing but zero is away from the median, and more than the smallest float64.
_ZERO_DECADES = 400.0

Symptoms = Iterator[tuple[str, float, str]]


def worst_layers(profile: Profile, number: int = 3) -> list[tuple[str, float, str]]:
    """The layers that most need looking at, with why.

    A layer's score is that of its worst symptom:

    | symptom | score |
    |---|---|
    | values that are infinite or not a number | ∞; the layer where they came up first is the first |
    | dead units, over the last watched steps where known | share / 0.5 |
    | values on the flat part of tanh or sigmoid, but for the last layer | share / 0.5 |
    | ‖update‖ / ‖weight‖ of the largest weight | decades from 1e-3; none where it stands still |
    | standard deviation of the outputs, rms of their gradients | decades from the network's median, / 2 |
    | BatchNormalization: batch means off the moving means | their rms, in standard deviations |
    | BatchNormalization: batch variances off the moving variances | decades, / 0.5 |

    Below 1 nothing stands out. A deviation or gradient of zero is no symptom up to step 1: heads and residual branches
    that begin at zero pass nothing on then. Nor is a gradient of an attention layer's query or key, which is small by
    nature.

    Args:
        profile: a measurement.
        number: how many layers at most; a positive integer. Default 3: what one takes in at a glance.

    Returns:
        (layer, score, reason), the worst first, and in order of depth where the scores are the same.

    Example:
        >>> import keras_initlab as kil
        >>> keys = [(0, "hidden", "activation", None), (1, "head", "activation", None)]
        >>> worst_layers(kil.Profile(100, keys, {"nonfinite": [0, 0], "dead": [0.62, 0.0]}))
        [('hidden', 1.24, '62 % of units dead'), ('head', 0.0, 'nothing stands out')]
    """
    worst = {layer: (0.0, HEALTHY) for _, layer, *_ in profile.keys}
    for layer, score, reason in _symptoms(profile):
        if score > worst[layer][0]:
            worst[layer] = score, reason if score >= 1 else HEALTHY
    first = profile.first_nonfinite
    ranked = sorted(worst.items(), key=lambda item: (-item[1][0], first is None or item[0] != first[0]))
    return [(layer, score, reason) for layer, (score, reason) in ranked[:number]]


def _symptoms(profile: Profile) -> Symptoms:
    yield from _nonfinite(profile)
    yield from _dead_and_saturated(profile)
    for layer, ratio in _column(profile, "update", "relative").items():
        if ratio > 0:
            yield layer, abs(math.log10(ratio / _UPDATE)), f"update/weight {ratio:.1e}"
    yield from _far_from_the_median(profile, "activation", "std", "output std")
    yield from _far_from_the_median(profile, "activation_gradient", "rms", "gradient of output")
    for layer, drift in _column(profile, "batchnorm", "rms", "mean_drift").items():
        yield layer, drift, f"batch means {drift:.1f} deviations off the moving means"
    for layer, ratio in _column(profile, "batchnorm", "mean", "variance_ratio").items():
        if ratio > 0:
            score = abs(math.log10(ratio)) / _VARIANCE_DECADES
            yield layer, score, f"batch variances {ratio:.2g} times the moving variances"


def _nonfinite(profile: Profile) -> Symptoms:
    counts: dict[str, int] = {}
    for (_, layer, *_), count in zip(profile.keys, profile.statistics["nonfinite"], strict=True):
        if count > 0:
            counts[layer] = counts.get(layer, 0) + int(count)
    for layer, number in counts.items():
        reason = f"{number:,} values not finite"
        first = profile.first_nonfinite
        if first is not None and layer == first[0]:
            reason += f", first in {' '.join(filter(None, first[1:]))}"
        yield layer, math.inf, reason


def _dead_and_saturated(profile: Profile) -> Symptoms:
    dead = {**_column(profile, "activation", "dead"), **_column(profile, "activation", "dead_window")}
    for layer, share in dead.items():
        yield layer, share / _SHARE, f"{100 * share:.0f} % of units dead"
    depth = {layer: depth for depth, layer, *_ in profile.keys}
    for quantity in ("preactivation", "activation"):
        for layer, share in _column(profile, quantity, "saturated").items():
            # The answers of a trained classifier are near 0 and 1, and are to be.
            if depth[layer] < max(depth.values()):
                yield layer, share / _SHARE, f"{100 * share:.0f} % of values saturated"


def _far_from_the_median(profile: Profile, quantity: str, statistic: str, name: str) -> Symptoms:
    column = _column(profile, quantity, statistic)
    logs = [math.log10(value) for value in column.values() if value > 0]
    if not logs:
        return
    median = float(np.median(logs))
    for layer, value in column.items():
        if quantity == "activation_gradient" and layer.split("#")[0].rsplit("/", 1)[-1] in ("query", "key"):
            continue
        if value > 0 or profile.step > 1:
            decades = abs(math.log10(value) - median) if value > 0 else _ZERO_DECADES
            yield layer, decades / _DEPTH_DECADES, f"{name} {value:.1e}, median of the layers {10**median:.1e}"


def _column(profile: Profile, quantity: str, statistic: str, variable: str | None = None) -> dict[str, float]:
    """A statistic by layer; of several tensors of a layer that of the largest, and none where it does not apply."""
    found: dict[str, tuple[float, float]] = {}
    values, counts = profile.statistics[statistic], np.nan_to_num(profile.statistics["count"])
    for i, (_, layer, kind, name) in enumerate(profile.keys):
        if kind == quantity and variable in (None, name):
            found[layer] = max(found.get(layer, (-1.0, 0.0)), (counts[i], values[i]), key=lambda pair: pair[0])
    return {layer: float(value) for layer, (_, value) in found.items() if np.isfinite(value)}
