"""From the packed arrays of a step to its Profile, on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_initlab.statistics.histograms import Histograms
from keras_initlab.statistics.layout import Derived, Layout
from keras_initlab.statistics.profile import Profile
from keras_initlab.statistics.schema import STATISTICS
from keras_initlab.statistics.tensor_stats import FIELDS, sample_size

Array = npt.NDArray[np.float64]
Packed = Mapping[str, npt.NDArray[Any]]
_SAMPLED = ("preactivation", "activation", "activation_gradient", "weight", "gradient", "batchnorm")
_VECTORS = ("batch_mean", "batch_variance", "moving_mean", "moving_variance")


def on_host(packed: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """The packed arrays, with an axis for the replicas in front, whether there are several or not."""
    arrays = {name: np.asarray(value) for name, value in packed.items()}
    if arrays["fields"].ndim == 2:
        return {name: array if name == "samples" else array[np.newaxis] for name, array in arrays.items()}
    # (1, replicas, ...), or (replicas, ...) where Keras took the mean over the first axis.
    return {
        name: array.reshape(-1) if name == "samples" else array.reshape(-1, *array.shape[array.ndim - _RANKS[name] :])
        for name, array in arrays.items()
    }


_RANKS = {"fields": 2, "norms": 2, "units": 1, "saturated": 1, "small": 1, "layout": 1}


def unpack(packed: Packed, layout: Layout, step: int, before: Packed | None = None, window: Any = None) -> Profile:
    """The Profile of one step.

    Args:
        packed: its arrays, as `on_host` gives them.
        layout: what is where in them.
        step: its number.
        before: the arrays of the watched step before it, with the same layout; `None` if there was none.
        window: for each unit of all activations, whether it was zero in all of the last watched steps.
    """
    merged = _merged(packed["fields"], layout.mirrored)
    segments = _segments(packed["small"], layout)
    parts = {
        "fields": {name: merged[:, i] for i, name in enumerate(FIELDS)},
        "norms": _norm_fields(packed["norms"][0]),
        "small": _segment_fields(segments[: len(layout.segments)]),
        "derived": _segment_fields(segments[len(layout.segments) :]),
    }
    ends = np.cumsum([len(part["count"]) for part in parts.values()])
    offsets = dict(zip(parts, [0, *ends], strict=False))
    places = np.array([offsets[row.source] + row.place for row in layout.rows], int)
    raw = {name: np.concatenate([part[name] for part in parts.values()])[places] for name in FIELDS}
    columns = _columns(raw)
    _set_saturated(columns, packed["saturated"].sum(axis=0), layout)
    _set_dead(columns, packed["units"].sum(axis=0) == 0, layout, window)
    _set_changes(
        columns,
        packed["norms"][0],
        segments,
        layout,
        None if before is None else (before["norms"][0], _segments(before["small"], layout)),
    )
    histograms = _histograms(packed, layout, segments) if "samples" in packed else None
    return Profile(step, [row.key for row in layout.rows], columns, histograms)


# -- what was measured of each tensor ----------------------------------------------------------------------------------


def _merged(fields: Array, mirrored: Sequence[bool]) -> Array:
    """One row of fields for each tensor, of all replicas together."""
    first: Array = fields[0]
    if len(fields) == 1:
        return first
    count, nonzero, scale, total, l2, low, high, nonfinite = np.moveaxis(fields, 2, 0)
    top = scale.max(axis=0)
    total, l2, low, high = (values * (scale / top) for values in (total, l2, low, high))
    norms = np.sqrt((l2**2).sum(axis=0))
    sums = (count.sum(axis=0), nonzero.sum(axis=0), top, total.sum(axis=0), norms)
    merged = np.stack([*sums, low.min(axis=0), high.max(axis=0), nonfinite.sum(axis=0)], axis=1)
    merged[list(mirrored)] = first[list(mirrored)]
    return merged


def _segments(small: npt.NDArray[Any], layout: Layout) -> list[Array]:
    """The small tensors, and those that are computed from them."""
    ends = np.cumsum(layout.segments)
    by_replica = small.astype(np.float64)
    found = [by_replica[:, end - size : end] for end, size in zip(ends, layout.segments, strict=True)]
    segments = [segment[0] for segment in found]
    for mean, variance, _, _, count in {d.parts for d in layout.derived if d.rule == "drift"}:
        segments[mean], segments[variance] = _merged_moments(found[mean], found[variance], found[count])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return [*segments, *(_RULES[d.rule](segments, d) for d in layout.derived)]


def _merged_moments(means: Array, variances: Array, counts: Array) -> tuple[Array, Array]:
    """The moments of a batch from those of its parts on the replicas, of which some may be empty."""
    some = counts[:, 0] > 0
    means, variances, share = means[some], variances[some], counts[some] / counts.sum()
    mean = (share * means).sum(axis=0)
    return mean, (share * (variances + (means - mean) ** 2)).sum(axis=0)


def _difference(segments: Sequence[Array], derived: Derived) -> Array:
    new, old = (segments[i] for i in derived.parts)
    return new - old


def _drift(segments: Sequence[Array], derived: Derived) -> Array:
    mean, _, moving_mean, moving_variance, _ = (segments[i] for i in derived.parts)
    return (mean - moving_mean) / np.sqrt(moving_variance + derived.constant)


def _ratio(segments: Sequence[Array], derived: Derived) -> Array:
    _, variance, _, moving_variance, _ = (segments[i] for i in derived.parts)
    return (variance + derived.constant) / (moving_variance + derived.constant)


_RULES = {"difference": _difference, "drift": _drift, "ratio": _ratio}


def _segment_fields(segments: Sequence[Array]) -> dict[str, Array]:
    """FIELDS of vectors that are none of them empty."""
    sizes = np.array([len(segment) for segment in segments], int)
    if not len(sizes):
        return dict.fromkeys(FIELDS, np.zeros(0))
    starts = np.cumsum(sizes) - sizes
    values = np.concatenate(segments)
    finite = np.isfinite(values)
    known = np.where(finite, values, 0.0)
    largest = np.maximum.reduceat(np.abs(known), starts)
    scale = np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1.0))))
    scaled = known / np.repeat(scale, sizes)
    return {
        "count": sizes.astype(float),
        "nonzero": np.add.reduceat((values != 0).astype(float), starts),
        "scale": scale,
        "sum": np.add.reduceat(scaled, starts),
        "l2": np.sqrt(np.add.reduceat(scaled**2, starts)),
        "min": np.minimum.reduceat(np.where(finite, values, np.inf), starts) / scale,
        "max": np.maximum.reduceat(np.where(finite, values, -np.inf), starts) / scale,
        "nonfinite": np.add.reduceat((~finite).astype(float), starts),
    }


def _norm_fields(norms: Array) -> dict[str, Array]:
    """Of differences of large weights the norm is known, and what is not finite."""
    unknown = dict.fromkeys(FIELDS, np.full(len(norms), np.nan))
    return {**unknown, "scale": np.ones(len(norms)), "l2": norms[:, 0], "nonfinite": norms[:, 2]}


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def _columns(raw: Mapping[str, Array]) -> dict[str, Array]:
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


def _set_saturated(columns: dict[str, Array], outside: Array, layout: Layout) -> None:
    for i, row in enumerate(layout.rows):
        if row.saturated >= 0 and columns["count"][i]:
            columns["saturated"][i] = outside[row.saturated] / columns["count"][i]


def _set_dead(columns: dict[str, Array], zero: Any, layout: Layout, window: Any) -> None:
    """Shares of units, in the order in which the device counted them: that of the activations' tensors."""
    for i, part in unit_slices(layout).items():
        columns["dead"][i] = np.mean(zero[part])
        if window is not None:
            columns["dead_window"][i] = np.mean(window[part])


def unit_slices(layout: Layout) -> dict[int, slice]:
    """Where the units of each activation's row are."""
    by_tensor = {row.place: row.units for row in layout.rows if row.key[2] == "activation"}
    ends, end = {}, 0
    for place in sorted(by_tensor):
        end += by_tensor[place]
        ends[place] = slice(end - by_tensor[place], end)
    return {i: ends[row.place] for i, row in enumerate(layout.rows) if row.key[2] == "activation" and row.units}


def _set_changes(
    columns: dict[str, Array], norms: Array, segments: Sequence[Array], layout: Layout, before: Any
) -> None:
    """Update ratio, cosine of successive updates, displacement and angle."""
    for weight, update, displacement, new, start in layout.changes:
        if update >= 0:
            row = layout.rows[update]
            if row.source == "norms":
                _set_norm_row(columns, update, weight)
            columns["relative"][update] = _share(columns["l2"][update], columns["l2"][weight])
            if before is not None:
                columns["cosine"][update] = _cosine(row.source, row.place, norms, segments, before, layout)
        if displacement >= 0:
            row = layout.rows[displacement]
            if row.source == "norms":
                _set_norm_row(columns, displacement, weight)
            columns["relative"][displacement] = _share(columns["l2"][displacement], start)
            length = norms[new, 0] if row.source == "norms" else float(np.linalg.norm(segments[new]))
            columns["angle"][displacement] = _angle(columns["l2"][displacement], length, start)


def _set_norm_row(columns: dict[str, Array], row: int, weight: int) -> None:
    columns["count"][row] = columns["count"][weight]
    finite = columns["count"][row] - columns["nonfinite"][row]
    columns["rms"][row] = columns["l2"][row] / np.sqrt(finite) if finite else np.nan


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan


def _cosine(source: str, place: int, norms: Array, segments: Sequence[Array], before: Any, layout: Layout) -> float:
    if source == "norms":
        length, product, last = norms[place, 0], norms[place, 1], before[0][place, 0]
    else:
        new, old = segments[len(layout.segments) + place], before[1][len(layout.segments) + place]
        length, product, last = np.linalg.norm(new), new @ old, np.linalg.norm(old)
    return float(np.clip(_share(product, length * last), -1.0, 1.0))


def _angle(distance: float, one: float, other: float) -> float:
    """Angle in degrees between two vectors, from their lengths and their distance.

    By the half angle: the law of cosines itself loses all digits of a small one.
    """
    if not one * other > 0:
        return np.nan
    square = (distance**2 - (one - other) ** 2) / (4 * one * other)
    return float(np.degrees(2 * np.arcsin(np.sqrt(np.clip(square, 0.0, 1.0)))))


# -- histograms --------------------------------------------------------------------------------------------------------


def _histograms(packed: Packed, layout: Layout, segments: Sequence[Array]) -> Histograms:
    """Of the samples of large tensors, and of every value of the small ones that have a histogram."""
    tensors = len(layout.widths)
    counts = packed["fields"][:, :, 0].astype(int)
    sizes = [
        [sample_size(n // width, width) if width else 0 for n, width in zip(row, layout.widths, strict=True)]
        for row in counts.tolist()
    ]
    owners = np.repeat(np.tile(np.arange(tensors), len(sizes)), np.ravel(sizes).astype(int))
    first = np.arange(len(owners)) < sum(sizes[0])
    once = first | ~np.append(np.array(layout.mirrored, bool), False)[owners]
    runs: list[int] = []
    small: list[Array] = []
    for row in layout.rows:
        if row.key[2] not in _SAMPLED or row.source in ("norms", "derived") or row.key[3] in _VECTORS:
            runs.append(-1)
        elif row.source == "fields":
            runs.append(row.place)
        else:
            runs.append(tensors + len(small))
            small.append(segments[row.place])
    values = np.concatenate([packed["samples"][once], *small]).astype(np.float32)
    owner = np.concatenate([owners[once], np.repeat(tensors + np.arange(len(small)), [len(s) for s in small])])
    return Histograms.from_values(values, owner.astype(np.int64), tensors + len(small), runs)
