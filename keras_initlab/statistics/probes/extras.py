"""All that is measured of a training step on demand, and how it comes into the step's Profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from keras_initlab.statistics.histograms import Histograms
from keras_initlab.statistics.layers import MeasuredLayer
from keras_initlab.statistics.layout import Key
from keras_initlab.statistics.probes.apart import CannotMeasureError
from keras_initlab.statistics.probes.channels import Channels, channel_moments, channel_statistics
from keras_initlab.statistics.probes.inference_gap import Outputs, gaps, inference_outputs
from keras_initlab.statistics.probes.noise_scale import Name, noise_scale, noise_sums
from keras_initlab.statistics.probes.recurrence import LoopTaps, Steps, loop_statistics
from keras_initlab.statistics.profile import Profile
from keras_initlab.statistics.replicas import by_replica, gathered
from keras_initlab.statistics.schema import STATISTICS
from keras_initlab.statistics.taps import Taps
from keras_initlab.statistics.tensor_stats import FIELDS
from keras_initlab.statistics.unpacking import columns_of, merged_fields

EXTRAS = ("channels", "inference_gap", "noise_scale", "time")
# Replicas have parts of the batch of different length, and sequences of different length.
_ON_ONE_DEVICE = ("noise_scale", "time")
Array = npt.NDArray[np.float64]


def checked_extras(extras: Sequence[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        ValueError: not a list of known names.
    """
    if isinstance(extras, str) or not isinstance(extras, Sequence) or not set(extras) <= set(EXTRAS):
        raise ValueError(
            f"extras must be a list of some of {', '.join(EXTRAS)}. Received: extras={extras!r}."
            + (f" Write extras=[{extras!r}]." if extras in EXTRAS else "")
        )
    return tuple(name for name in EXTRAS if name in extras)


def check_replicas(extras: Sequence[str], replicas: int) -> None:
    """Refuses what is measured on one device only.

    Raises:
        ValueError: several replicas, and one of those extras.
    """
    alone = [name for name in extras if name in _ON_ONE_DEVICE]
    if alone and replicas > 1:
        raise ValueError(
            f"extras {' and '.join(alone)} are measured on one device. Received: a model under a strategy of "
            f"{replicas} replicas. Leave them out, or train on one device."
        )


class ExtrasLayout(NamedTuple):
    """The name of the model, and whose the numbers in each array of the extras are."""

    model: str
    channels: tuple[Channels, ...] = ()
    gaps: tuple[Key, ...] = ()
    noise: tuple[Name, ...] = ()
    steps: tuple[Steps, ...] = ()


class Extras:
    """The extras of one step, which is being traced.

    Args:
        names: which ones.
        model: the model that trains.
        entries: its layers that are measured.
        shortcut: as in `statistics_of`.

    Attributes:
        messages: what cannot be measured, and why.
    """

    def __init__(self, names: Sequence[str], model: Any, entries: list[MeasuredLayer], shortcut: bool) -> None:
        self.names, self.model, self.entries, self.shortcut = names, model, entries, shortcut
        self.messages: list[str] = []
        self._inference: Outputs | None = None
        self._noise: tuple[Any, tuple[Name, ...]] | None = None

    def before_step(self, data: Any) -> None:
        """Runs the passes of their own, on the batch and the weights that the step is about to take."""
        for name in self.names:
            try:
                if name in ("inference_gap", "noise_scale") and not self.model.built:
                    raise CannotMeasureError("The model is built by its first step only; build it before")
                if name == "inference_gap":
                    self._inference = inference_outputs(self.model, self.entries, data)
                elif name == "noise_scale":
                    self._noise = noise_sums(self.model, self.entries, data, self.shortcut)
            except CannotMeasureError as error:
                self.messages.append(f"{name} is not measured. {error}.")

    def taps(self, strict: bool) -> Taps:
        """Those for the step."""
        return (LoopTaps if "time" in self.names else Taps)(self.entries, strict=strict)

    def after_step(self, taps: Taps) -> tuple[dict[str, Any], ExtrasLayout]:
        """The arrays that leave the device, and their layout."""
        arrays: dict[str, Any] = {}
        layout = ExtrasLayout(self.model.name)
        if "channels" in self.names:
            arrays["channels"], channels, skipped = channel_moments(taps, self.shortcut)
            layout = layout._replace(channels=channels)
            self._skipped("channels", skipped)
        if self._inference is not None:
            arrays["gaps"], keys, skipped = gaps(taps, self._inference, self.shortcut)
            layout = layout._replace(gaps=keys)
            self._skipped("inference_gap", skipped)
        if self._noise is not None:
            arrays["noise"], names = self._noise
            layout = layout._replace(noise=names)
        if isinstance(taps, LoopTaps):
            loops, steps, skipped = loop_statistics(taps)
            arrays.update(loops)
            layout = layout._replace(steps=steps)
            self._skipped("time", skipped)
        return gathered(arrays), layout

    def _skipped(self, name: str, skipped: Mapping[str, str]) -> None:
        if skipped:
            reasons = "; ".join(f"{layer}: {why}" for layer, why in skipped.items())
            self.messages.append(f"{name} is not measured of these layers. {reasons}.")


# -- on the host ------------------------------------------------------------------------------------------------------

_RANKS = {"channels": 2, "gaps": 2, "noise": 2, "steps": 2, "lengths": 1}


def extras_on_host(arrays: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """The arrays, with an axis for the replicas in front, whether there are several or not."""
    host = {name: np.asarray(array) for name, array in arrays.items()}
    return {name: by_replica(array, _RANKS[name]) for name, array in host.items()}


def with_extras(profile: Profile, arrays: Mapping[str, npt.NDArray[Any]], layout: ExtrasLayout) -> Profile:
    """The Profile with what was measured besides.

    Args:
        profile: of the step.
        arrays: as `extras_on_host` gives them.
        layout: of these arrays.
    """
    rows: list[_Row] = []
    if "gaps" in arrays:
        rows += _gap_rows(profile, arrays["gaps"], layout.gaps)
    if "steps" in arrays:
        rows += _step_rows(arrays["steps"][0], arrays["lengths"][0], layout.steps)
    if "noise" in arrays:
        rows += _noise_rows(profile, arrays["noise"][0], layout)
    found = _with_rows(profile, rows)
    if "channels" in arrays:
        found.channels.update(channel_statistics(arrays["channels"], layout.channels))
    return found


_Row = tuple[Key, Mapping[str, float]]


def _gap_rows(profile: Profile, fields: Array, keys: Sequence[Key]) -> Iterator[_Row]:
    columns = _columns(merged_fields(fields, [False] * len(keys)))
    outputs = {key[1:]: profile.statistics["l2"][i] for i, key in enumerate(profile.keys)}
    for i, key in enumerate(keys):
        row = {name: column[i] for name, column in columns.items()}
        if row["count"] == 0:
            profile.notes[key[1]] = "no inference gap: its output has another shape in inference"
        if not row["l2"] > 0 and row["nonfinite"] == 0:
            continue
        whole = outputs[key[1], "activation", key[3]]
        row["relative"] = row["l2"] / whole if whole > 0 else np.nan
        yield key, row


def _step_rows(fields: Array, lengths: Sequence[int], calls: Sequence[Steps]) -> Iterator[_Row]:
    columns = _columns(fields)
    keys = [key for call, length in zip(calls, lengths, strict=True) for key in call.keys(int(length))]
    for i, key in enumerate(keys):
        yield key, {name: column[i] for name, column in columns.items()}


def _noise_rows(profile: Profile, sums: Array, layout: ExtrasLayout) -> Iterator[_Row]:
    """The noise scale goes into the rows of the gradients; one row more is of all of them together."""
    place = {key[1:]: i for i, key in enumerate(profile.keys)}
    rows = [place[layer, "gradient", name] for layer, name in layout.noise if (layer, "gradient", name) in place]
    known = [i for i, (layer, name) in enumerate(layout.noise) if (layer, "gradient", name) in place]
    if not rows:
        return
    trace, square = sums[known].T
    profile.statistics["noise_scale"][rows] = noise_scale(trace, square)
    count, nonfinite = (float(profile.statistics[name][rows].sum()) for name in ("count", "nonfinite"))
    length = float(np.linalg.norm(np.nan_to_num(profile.statistics["l2"][rows])))
    depth = next((key[0] for key in profile.keys if key[1] == layout.model), max(key[0] for key in profile.keys) + 1)
    yield (
        (depth, layout.model, "gradient", None),
        {
            "count": count,
            "nonfinite": nonfinite,
            "l2": length,
            "rms": length / np.sqrt(count - nonfinite) if count > nonfinite else np.nan,
            "noise_scale": float(noise_scale(trace.sum(), square.sum())),
        },
    )


def _columns(fields: Array) -> dict[str, Array]:
    return columns_of({name: fields[:, i] for i, name in enumerate(FIELDS)})


def _with_rows(profile: Profile, rows: Sequence[_Row]) -> Profile:
    """With these rows behind those of the same depth."""
    keys = [*profile.keys, *(key for key, _ in rows)]
    order = sorted(range(len(keys)), key=lambda i: keys[i][0])
    statistics = {
        name: np.append(profile.statistics[name], [row.get(name, np.nan) for _, row in rows])[order]
        for name in STATISTICS
    }
    histograms = profile.histograms
    if histograms is not None:
        runs = np.append(histograms.runs, np.full(len(rows), -1, np.int32))[order]
        histograms = Histograms(runs, histograms.starts, histograms.bins, histograms.counts)
    return Profile(profile.step, [keys[i] for i in order], statistics, histograms, profile.notes, profile.channels)
