"""A propagation as a Profile, with the layers' names as in a measured one."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Block, Call, Value
from keras_initlab.model_init.moments.backward import gradients
from keras_initlab.model_init.moments.propagation import Propagation
from keras_initlab.model_init.moments.rules import Moments
from keras_initlab.model_init.places import placed_weights

if TYPE_CHECKING:
    from keras_initlab.statistics import Profile

__all__ = ["to_profile"]

Array = NDArray[np.float64]
_Row = tuple[tuple[int, str, str, str | None], dict[str, float]]


def to_profile(model: Any, propagation: Propagation, notes: dict[str, str]) -> Profile:
    """Rows of the outputs of every call, of their gradients and of the layers' weights, in order of depth.

    Args:
        model: The model.
        propagation: Its moments.
        notes: What there is to say besides the propagation's notes.
    """
    # These load TensorFlow.
    from keras_initlab.statistics.layers import measured_layers
    from keras_initlab.statistics.profile import Profile
    from keras_initlab.statistics.schema import STATISTICS

    entries = {id(entry.layer): entry for entry in measured_layers(model)}
    squares, backward_notes = gradients(propagation)
    steps = _steps(propagation, {key: entry.path for key, entry in entries.items()})
    rows: list[_Row] = []
    called: set[int] = set()
    for depth, (step, name) in enumerate(steps.items()):
        rows += _outputs(step, depth, name, propagation, squares)
        entry = entries.get(id(step.operation))
        if entry is not None and id(step.operation) not in called:
            called.add(id(step.operation))
            rows += _weights(depth, entry)
        said = [text[step] for text in (propagation.notes, backward_notes) if step in text]
        if said:
            notes[name] = "; ".join(said)
    for key, entry in entries.items():
        if key not in called:
            rows += _weights(len(steps), entry)
    columns = {name: np.array([row.get(name, np.nan) for _, row in rows], "float64") for name in STATISTICS}
    columns["nonfinite"] = np.zeros(len(rows))
    profile = Profile(0, [key for key, _ in rows], columns, notes=notes)
    profile.fans = _fans(model, list(entries.values()))
    return profile


def _fans(model: Any, entries: Sequence[Any]) -> dict[tuple[str, str], tuple[float, float]]:
    """Fan-in and fan-out of every kernel, by its layer and name."""
    roles = {id(weight.variable): weight.role for weight in placed_weights(model)}
    found = {}
    for entry in entries:
        for name, variable in entry.variables.items():
            fans = roles[id(variable)].fans(tuple(variable.shape)) if id(variable) in roles else None
            if fans is not None and roles[id(variable)].kind != "embedding":
                found[entry.path, name] = fans
    return found


def _steps(propagation: Propagation, paths: dict[int, str]) -> dict[Any, str]:
    """The calls, and those blocks whose output no layer inside them makes, with their names.

    A name is the layer's path, with its number from the second call on.
    """
    graph = propagation.graph
    made = {value for call in graph.calls if isinstance(call.operation, keras.Layer) for value in call.outputs}
    steps: list[Call | Block] = []
    ended = 0
    for number, call in enumerate(graph.calls, 1):
        steps.append(call)
        while ended < len(graph.blocks) and graph.blocks[ended].end <= number:
            block = graph.blocks[ended]
            steps += [] if made.issuperset(block.outputs) else [block]
            made.update(block.outputs)
            ended += 1
    counts: collections.Counter[str] = collections.Counter()
    found = {}
    for step in steps:
        # Of an attention layer the projection behind it is what is measured.
        path = paths.get(id(getattr(step.operation, "_output_dense", None)), paths.get(id(step.operation)))
        if path is None:
            found[step] = step.place if isinstance(step, Call) else step.operation.name
            continue
        counts[path] += 1
        found[step] = path if counts[path] == 1 else f"{path}#{counts[path]}"
    return found


def _outputs(
    step: Call | Block, depth: int, name: str, propagation: Propagation, squares: dict[Value, Array]
) -> list[_Row]:
    rows: list[_Row] = []
    for index, value in enumerate(step.outputs):
        if not keras.backend.is_float_dtype(value.dtype):
            continue
        variable = None if len(step.outputs) == 1 else f"output_{index}"
        moments = propagation.moments[value]
        rows.append(((depth, name, "activation", variable), _statistics(moments)))
        square = float(squares[value].mean()) if value in squares else np.nan
        if np.isfinite(square) and square > 0:
            gradient = {"count": moments.mean.size, "rms": square**0.5}
            rows.append(((depth, name, "activation_gradient", variable), gradient))
    return rows


def _statistics(moments: Moments) -> dict[str, float]:
    """Of all elements and examples together; the spread of the elements' means counts too."""
    mean = float(moments.mean.mean())
    # The variance from deviations: a difference of squares would lose the digits of a small one.
    variance = float((moments.variance + (moments.mean - mean) ** 2).mean())
    return {
        "count": moments.mean.size,
        "mean": mean,
        "std": variance**0.5,
        "rms": float(moments.square.mean()) ** 0.5,
    }


def _weights(depth: int, entry: Any) -> list[_Row]:
    rows: list[_Row] = []
    for name, variable in entry.variables.items():
        w = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")), "float64")
        square = float((w**2).mean())
        found = {"count": w.size, "mean": float(w.mean()), "std": float(w.std()), "rms": square**0.5}
        found |= {"min": float(w.min()), "max": float(w.max()), "l2": float((w**2).sum()) ** 0.5}
        rows.append(((depth, entry.path, "weight", name), {**found, "zeros": float((w == 0).mean())}))
    return rows
