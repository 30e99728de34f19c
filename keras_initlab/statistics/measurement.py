"""From taps to a Profile: everything that was tapped leaves the device as two packed arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_initlab.statistics.histograms import Histograms
from keras_initlab.statistics.profile import Profile
from keras_initlab.statistics.taps import Tap
from keras_initlab.statistics.tensor_stats import (
    Raw,
    histograms,
    raw_statistics,
    sample,
    saturated_share,
    widen,
)

# Tensors of one shape are stacked up to this many values and measured in one call: of 10 ms that 200 calls for the
# tensors of 60 layers cost, 2 are arithmetic. Not more, so that no step needs much memory beside its own.
_STACKED = 1 << 18


@dataclass(frozen=True)
class Layout:
    """Which row of the packed arrays belongs to which tap.

    Attributes:
        keys: depth, layer, quantity and variable of each row of the Profile.
        slots: row of the packed array for each row of the Profile.
        saturated: for each row of the Profile, the place of its saturated share, or -1.
        relative: for each row, the row of the packed array or the norm its own norm is set against, or None.
    """

    keys: tuple[tuple[int, str, str, str | None], ...]
    slots: tuple[int, ...]
    saturated: tuple[int, ...]
    relative: tuple[int | float | None, ...]


def pack(
    taps: Sequence[Tap], read: Callable[[Any], Any], with_histograms: bool, shortcut: bool
) -> tuple[dict[str, Any], Layout]:
    """Adds the statistics of all taps to the graph (or computes them, when eager).

    Args:
        taps: in the order of the Profile's rows.
        read: gives the tensor to read in place of one that belongs to the model.
        with_histograms: whether histograms are taken.
        shortcut: as in `raw_statistics`.

    Returns:
        The packed arrays and their layout. A tensor tapped twice is measured once.
    """
    tensors: dict[int, Any] = {}
    for tap in taps:
        if id(tap.tensor) not in tensors:
            tensors[id(tap.tensor)] = widen(read(tap.tensor) if _is_of_the_model(tap) else tap.tensor)
    blocks = _blocks(taps, tensors)
    units = {id(tap.tensor) for tap in taps if tap.quantity == "activation"}
    slots = {identity: slot for slot, identity in enumerate(i for identities, _ in blocks for i in identities)}
    bounded = [tap for tap in taps if tap.bounds is not None]
    places = {id(tap): place for place, tap in enumerate(bounded)}
    raw = [raw_statistics(block, shortcut, not units.isdisjoint(identities)) for identities, block in blocks]
    # Layers that were chosen but not called, and have no weights, leave nothing to measure.
    raw = raw or [Raw._make([tf.zeros(0, tf.float64)] * len(Raw._fields))]
    packed = {
        "raw": tf.stack([tf.concat(column, axis=0) for column in zip(*raw, strict=True)]),
        "saturated": tf.stack(
            [saturated_share(tensors[id(tap.tensor)], tap.bounds) for tap in bounded if tap.bounds]
            or [tf.constant(0.0, tf.float64)]
        ),
    }
    if with_histograms and blocks:
        packed["histogram"] = histograms([sample(block) for _, block in blocks])
    layout = Layout(
        keys=tuple((tap.depth, tap.layer, tap.quantity, tap.variable) for tap in taps),
        slots=tuple(slots[id(tap.tensor)] for tap in taps),
        saturated=tuple(places.get(id(tap), -1) for tap in taps),
        relative=tuple(_reference(tap.relative_to, slots) for tap in taps),
    )
    return packed, layout


def _is_of_the_model(tap: Tap) -> bool:
    return tap.quantity in ("activation", "activation_gradient", "gradient") or tap.variable == "input"


def _reference(relative_to: Any, slots: Mapping[int, int]) -> int | float | None:
    if relative_to is None or isinstance(relative_to, float):
        return relative_to
    return slots[id(relative_to)]


def _blocks(taps: Sequence[Tap], tensors: Mapping[int, Any]) -> list[tuple[list[int], Any]]:
    """Tensors as blocks (k, m, u) of the same shape, in a fixed order, with the `id` of each."""
    groups: dict[tuple[Any, ...], list[tuple[int, Any]]] = {}
    done: set[int] = set()
    for tap in taps:
        if id(tap.tensor) in done:
            continue
        done.add(id(tap.tensor))
        x = _by_unit(tensors[id(tap.tensor)], tap)
        # Where a size is known at run time only, an output and its own gradient are sure to have the same.
        owner = () if x.shape.is_fully_defined() else (tap.depth, tap.layer, tap.quantity == "batchnorm", tap.variable)
        groups.setdefault((x.dtype, *x.shape, *owner), []).append((id(tap.tensor), x))
    blocks = []
    for group in groups.values():
        size = group[0][1].shape.num_elements()
        many = 2 if size is None else max(1, _STACKED // max(size, 1))
        for start in range(0, len(group), many):
            part = group[start : start + many]
            blocks.append(([identity for identity, _ in part], tf.stack([x for _, x in part])))
    return blocks


def _by_unit(x: Any, tap: Tap) -> Any:
    """The tensor as (values, units)."""
    rank = len(x.shape)
    if rank <= 1:
        # A vector of weights has one value a unit; a vector of outputs is one unit over the batch.
        return tf.reshape(x, (-1, 1) if tap.quantity == "activation" else (1, -1))
    axis = tap.unit_axis % rank
    if axis != rank - 1:
        x = tf.transpose(x, [*(a for a in range(rank) if a != axis), axis])
    if x.shape[-1] is None:
        return tf.reshape(x, (-1, tf.shape(x)[-1]))
    return tf.reshape(x, (-1, x.shape[-1])) if x.shape[-1] else tf.zeros((1, 0), x.dtype)


def unpack(packed: Mapping[str, Any], layout: Layout, step: int) -> Profile:
    """The Profile of one step, from the packed arrays on the host."""
    slots = list(layout.slots)
    raw = Raw(*np.asarray(packed["raw"]))
    columns = _columns(Raw(*(column[slots] for column in raw)))
    columns["dead"][[quantity != "activation" for _, _, quantity, _ in layout.keys]] = np.nan
    shares = np.asarray(packed["saturated"])
    norms = raw.l2 * raw.scale
    for row, (place, reference) in enumerate(zip(layout.saturated, layout.relative, strict=True)):
        if place >= 0:
            columns["saturated"][row] = shares[place]
        if reference is not None:
            norm = norms[reference] if isinstance(reference, int) else reference
            columns["relative"][row] = columns["l2"][row] / norm if norm > 0 else np.nan
    taken = Histograms.from_counts(np.asarray(packed["histogram"]), slots) if "histogram" in packed else None
    return Profile(step, layout.keys, columns, taken)


def _columns(raw: Raw) -> dict[str, npt.NDArray[np.float64]]:
    """Statistics of the finite values; nan stands for what does not apply."""
    some = np.where(raw.count > 0, raw.count, np.nan)
    finite = np.where(raw.count > raw.nonfinite, raw.count - raw.nonfinite, np.nan)
    known = np.where(np.isnan(finite), np.nan, 1.0) * raw.scale
    mean, square = raw.sum / finite, raw.l2**2 / finite
    # Equal values have no deviation; what is left of them is the rounding of the two sums.
    variance = np.where(raw.min == raw.max, 0.0, np.maximum(square - mean**2, 0.0))
    with np.errstate(invalid="ignore"):
        low, high = raw.min * known, raw.max * known
    return {
        "count": raw.count,
        "mean": mean * known,
        "std": np.sqrt(variance) * known,
        "rms": np.sqrt(square) * known,
        "min": low,
        "max": high,
        "l2": raw.l2 * known,
        "zeros": (raw.count - raw.nonzero) / some,
        "dead": raw.dead.copy(),
        "saturated": np.full(some.shape, np.nan),
        "nonfinite": raw.nonfinite,
        "relative": np.full(some.shape, np.nan),
    }
