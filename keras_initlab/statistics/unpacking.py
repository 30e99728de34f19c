"""From the packed arrays of a step to its Profile, on the host.

All tensors at once: one by one in Python, the Profile of 60 layers took 16 ms, the time of its training step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_initlab.statistics.histograms import Histograms
from keras_initlab.statistics.layout import Layout
from keras_initlab.statistics.plan import Plan, plan_of
from keras_initlab.statistics.profile import Profile
from keras_initlab.statistics.replicas import by_replica
from keras_initlab.statistics.schema import STATISTICS
from keras_initlab.statistics.tensor_stats import FIELDS, sample_sizes

Array = npt.NDArray[np.float64]
Packed = Mapping[str, npt.NDArray[Any]]


def on_host(packed: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """The packed arrays, with an axis for the replicas in front, whether there are several or not."""
    arrays = {name: np.asarray(value) for name, value in packed.items()}
    found = {name: by_replica(array, _RANKS[name]) for name, array in arrays.items() if name != "samples"}
    if "samples" in arrays:
        found["samples"] = arrays["samples"].reshape(-1).astype(np.float32, copy=False)
    return found


_RANKS = {"fields": 2, "norms": 2, "units": 1, "small": 1, "layout": 1}


# Only outputs have bounds to saturate at.
_COMMON = tuple(name for name in FIELDS if name != "saturated")


def all_finite(packed: Packed) -> bool:
    """Whether everything that was measured is; quick, and before there is a Profile."""
    counted = packed["fields"][:, :, FIELDS.index("nonfinite")], packed["norms"][:, :, 2]
    return not any(counts.any() for counts in counted) and bool(np.isfinite(packed["small"]).all())


def unpack(packed: Packed, layout: Layout, step: int, before: Packed | None = None, window: Any = None) -> Profile:
    """The Profile of one step.

    Args:
        packed: its arrays, as `on_host` gives them.
        layout: what is where in them.
        step: its number.
        before: the arrays of the watched step before it, with the same layout; `None` if there was none.
        window: for each unit of all tensors, whether it was zero in all of the last watched steps.
    """
    plan = plan_of(layout)
    values, differences = _values(packed["small"], plan)
    of_tensors = merged_fields(packed["fields"], layout.mirrored)
    norms: Array = packed["norms"][0]
    small = _segment_fields(values, plan.sizes)
    parts = ({name: of_tensors[:, i] for i, name in enumerate(FIELDS)}, _norm_fields(norms), small)
    columns = columns_of({name: np.concatenate([part[name] for part in parts])[plan.places] for name in _COMMON})
    _set_norm_rows(columns, plan)
    _set_shares(columns, of_tensors[:, FIELDS.index("saturated")], packed, plan, window)
    _set_changes(columns, norms, small, plan)
    if before is not None:
        _set_cosines(columns, norms, differences, before, plan)
    histograms = _histograms(packed, values, plan) if "samples" in packed else None
    return Profile(step, [row.key for row in layout.rows], columns, histograms)


# -- what was measured of each tensor ----------------------------------------------------------------------------------


def merged_fields(fields: Array, mirrored: Sequence[bool]) -> Array:
    """One row of fields for each tensor, of all replicas together; of mirrored tensors those of the first."""
    first: Array = fields[0]
    if len(fields) == 1:
        return first
    count, nonzero, scale, nonfinite, total, l2, low, high, saturated = np.moveaxis(fields, 2, 0)
    top = scale.max(axis=0)
    total, l2, low, high = (values * (scale / top) for values in (total, l2, low, high))
    norms = np.sqrt((l2**2).sum(axis=0))
    count, nonzero, nonfinite, total, saturated = (x.sum(axis=0) for x in (count, nonzero, nonfinite, total, saturated))
    bounds = low.min(axis=0), high.max(axis=0)
    together: Array = np.stack([count, nonzero, top, nonfinite, total, norms, *bounds, saturated], axis=1)
    together[list(mirrored)] = first[list(mirrored)]
    return together


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def _values(small: npt.NDArray[Any], plan: Plan) -> tuple[Array, Array]:
    """Small tensors one after the other, with those that are computed from them; and their differences alone."""
    flat = small[0].astype(np.float64)
    for mean, variance, count in plan.moments if len(small) > 1 else ():
        flat[mean], flat[variance] = _merged_moments(
            *(small[:, part].astype(float) for part in (mean, variance, count))
        )
    differences = flat[plan.new] - flat[plan.old]
    mean, variance, moving_mean, moving_variance = (flat[part] for part in plan.batchnorm)
    drift = (mean - moving_mean) / np.sqrt(moving_variance + plan.epsilon)
    ratio = (variance + plan.epsilon) / (moving_variance + plan.epsilon)
    return np.concatenate([flat, differences, drift, ratio]), differences


def _merged_moments(means: Array, variances: Array, counts: Array) -> tuple[Array, Array]:
    """The moments of a batch from those of its parts on the replicas, of which some may be empty."""
    some = counts[:, 0] > 0
    means, variances, share = means[some], variances[some], counts[some] / counts.sum()
    mean = (share * means).sum(axis=0)
    return mean, (share * (variances + (means - mean) ** 2)).sum(axis=0)


def _segment_fields(values: Array, sizes: npt.NDArray[np.int64]) -> dict[str, Array]:
    """What is measured of vectors that follow one another and are none of them empty."""
    if not len(sizes):
        return dict.fromkeys(_COMMON, np.zeros(0))
    starts = np.cumsum(sizes) - sizes
    finite = np.isfinite(values)
    known = values if finite.all() else np.where(finite, values, 0.0)
    largest = np.maximum.reduceat(np.abs(known), starts)
    scale = np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1.0))))
    scaled = known / np.repeat(scale, sizes)
    return {
        "count": sizes.astype(float),
        "nonzero": np.add.reduceat((values != 0).astype(float), starts),
        "scale": scale,
        "sum": np.add.reduceat(scaled, starts),
        "l2": np.sqrt(np.add.reduceat(scaled * scaled, starts)),
        "min": np.minimum.reduceat(values if known is values else np.where(finite, values, np.inf), starts) / scale,
        "max": np.maximum.reduceat(values if known is values else np.where(finite, values, -np.inf), starts) / scale,
        "nonfinite": np.add.reduceat((~finite).astype(float), starts),
    }


def _norm_fields(norms: Array) -> dict[str, Array]:
    """Of differences of large weights the norm is known, and what is not finite."""
    unknown = dict.fromkeys(_COMMON, np.full(len(norms), np.nan))
    return {**unknown, "scale": np.ones(len(norms)), "l2": norms[:, 0], "nonfinite": norms[:, 2]}


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def columns_of(raw: Mapping[str, Array]) -> dict[str, Array]:
    """Statistics of the finite values; nan stands for what does not apply."""
    count, scale = raw["count"], raw["scale"]
    finite = np.where(count > raw["nonfinite"], count - raw["nonfinite"], np.nan)
    known = np.where(count == raw["nonfinite"], np.nan, scale)
    # Equal values have no deviation, and their sums may have overflowed.
    equal = (raw["min"] == raw["max"]) & (raw["nonfinite"] == 0)
    total = np.where(equal, raw["max"] * count, raw["sum"])
    l2 = np.where(equal, np.abs(raw["max"]) * np.sqrt(count), raw["l2"])
    mean, square = total / finite, l2**2 / finite
    return {
        **{name: np.full(count.shape, np.nan) for name in STATISTICS},
        "count": count,
        "mean": mean * scale,
        "std": np.sqrt(np.where(equal, 0.0, np.maximum(square - mean**2, 0.0))) * scale,
        "rms": np.sqrt(square) * scale,
        "min": raw["min"] * known,
        "max": raw["max"] * known,
        "l2": l2 * known,
        "zeros": (count - raw["nonzero"]) / count,
        "nonfinite": raw["nonfinite"],
    }


# -- what goes over several tensors ------------------------------------------------------------------------------------


@np.errstate(invalid="ignore", divide="ignore")
def _set_norm_rows(columns: dict[str, Array], plan: Plan) -> None:
    """Differences of large weights have as many values as the weight."""
    rows = plan.norm_rows
    columns["count"][rows] = columns["count"][plan.norm_weights]
    finite = columns["count"][rows] - columns["nonfinite"][rows]
    columns["rms"][rows] = np.where(finite > 0, columns["l2"][rows] / np.sqrt(finite), np.nan)


@np.errstate(invalid="ignore", divide="ignore")
def _set_shares(columns: dict[str, Array], saturated: Array, packed: Packed, plan: Plan, window: Any) -> None:
    rows = plan.saturated_rows
    columns["saturated"][rows] = saturated[plan.places[rows]] / columns["count"][rows]
    if len(plan.unit_rows):
        starts = np.cumsum(plan.widths) - plan.widths
        zero = packed["units"].sum(axis=0) == 0
        for name, units in (("dead", zero), ("dead_window", window)):
            if units is not None:
                shares = np.add.reduceat(units.astype(float), starts) / plan.widths
                columns[name][plan.unit_rows] = shares[plan.unit_places]


def _set_changes(columns: dict[str, Array], norms: Array, small: Mapping[str, Array], plan: Plan) -> None:
    """Update ratio, and how far and in what direction weights are from their start."""
    l2, rows = columns["l2"], plan.displacements
    columns["relative"][plan.updates] = _share(l2[plan.updates], l2[plan.updated])
    columns["relative"][rows] = _share(l2[rows], plan.start_norms)
    lengths = np.concatenate(
        [norms[plan.large_ends, 0], small["l2"][plan.small_ends] * small["scale"][plan.small_ends]]
    )
    columns["angle"][rows] = _angle(l2[rows], lengths, plan.start_norms)


@np.errstate(invalid="ignore", over="ignore")
def _set_cosines(columns: dict[str, Array], norms: Array, differences: Array, before: Packed, plan: Plan) -> None:
    """Angles between this update of each weight and its last one."""
    lengths = norms[plan.large_updates, 0] * before["norms"][0][plan.large_updates, 0]
    columns["cosine"][plan.large_update_rows] = _cosine(norms[plan.large_updates, 1], lengths)
    if len(plan.difference_sizes):
        small = before["small"][0].astype(np.float64)
        last = small[plan.new] - small[plan.old]
        starts = np.cumsum(plan.difference_sizes) - plan.difference_sizes
        products, squares, last_squares = (
            np.add.reduceat(product, starts) for product in (differences * last, differences**2, last**2)
        )
        cosines = _cosine(products, np.sqrt(squares) * np.sqrt(last_squares))
        columns["cosine"][plan.small_update_rows] = cosines[plan.small_updates]


@np.errstate(invalid="ignore", divide="ignore")
def _share(part: Array, whole: Array) -> Array:
    return np.where(whole > 0, part / whole, np.nan)


def _cosine(product: Array, lengths: Array) -> Array:
    return np.clip(_share(product, lengths), -1.0, 1.0)


@np.errstate(invalid="ignore", divide="ignore")
def _angle(distance: Array, one: Array, other: Array) -> Array:
    """Angle in degrees between two vectors, from their lengths and their distance.

    By the half angle: the law of cosines itself loses all digits of a small one.
    """
    square = (distance**2 - (one - other) ** 2) / (4 * one * other)
    angle = np.degrees(2 * np.arcsin(np.sqrt(np.clip(square, 0.0, 1.0))))
    return np.where(one * other > 0, angle, np.nan)


# -- histograms --------------------------------------------------------------------------------------------------------


def _histograms(packed: Packed, values: Array, plan: Plan) -> Histograms:
    """Of the samples of large tensors, and of every value of the small ones that have a histogram."""
    sizes = sample_sizes(packed["fields"][:, :, 0].astype(np.int64), plan.widths)
    bins, keep = plan.owners(sizes)
    samples = packed["samples"] if keep is None else packed["samples"][keep]
    taken = np.concatenate([samples, values[plan.sampled].astype(np.float32)])
    return Histograms.from_values(taken, bins, plan.tensors, plan.runs)
