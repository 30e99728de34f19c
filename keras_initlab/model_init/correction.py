"""Correction of one linear map at a time: a new kernel, its factor, its bias, and the line of the report."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initlab.model_init.eager import own_dtypes
from keras_initlab.model_init.laws import key_of, of_gain
from keras_initlab.model_init.linear_maps import CELLS, LinearMap
from keras_initlab.model_init.places import PlacedWeight
from keras_initlab.model_init.unit_moments import UnitMoments, scale_to

__all__ = ["Correction", "Refused", "Settings"]

# The factor is exact but for rounding; a layer of a class of its own may need a few steps.
_ATTEMPTS = 10


class Refused(BaseException):
    """A layer can't be corrected. No handler of Exception between the layer and the pass may stop or reword it."""


@dataclass(frozen=True)
class Settings:
    """What the pass is to reach; the arguments of ``lsuv``."""

    target_std: float
    tolerance: float
    orthogonal: bool
    centre: bool
    seed: Any


@dataclass
class Correction:
    """Corrects maps and keeps the book.

    Attributes:
        settings: What is to be reached.
        on_layer: Called after each map.
        rows: A line for each map (each gate of a recurrent one), in the order in which they came.
        at_later_calls: Standard deviations at the later calls of a shared layer, by the first column of its row.
        done: ``id`` of each variable that was scaled.
    """

    settings: Settings
    on_layer: Callable[[], None] = lambda: None
    rows: list[dict[str, Any]] = field(default_factory=list)
    at_later_calls: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    done: set[int] = field(default_factory=set)

    def is_done(self, linear: LinearMap) -> bool:
        """Whether the map's kernels were corrected before."""
        return all(id(weight.variable) in self.done for weight in linear.kernels)

    def measure(self, linear: LinearMap) -> Any:
        """Runs a map as it is, and notes its standard deviation."""
        tensor, output = linear.run(True)
        self.at_later_calls[_name(linear)].append(linear.moments(tensor).std)
        return output

    def correct(self, linear: LinearMap) -> Any:
        """Scales the kernels of a map, and returns the layer's output if the map makes it."""
        settings, blocks = self.settings, max(1, len(linear.gates))
        self.done.update(id(weight.variable) for weight in linear.kernels)
        if linear.drawn:
            self.draw(linear.kernels)
        centred = settings.centre and linear.bias is not None
        factors = np.ones(blocks)
        tensor, output = linear.run(False)
        first = now = self._measured(linear, tensor)
        attempts = 0
        while not self._reached(now) or (centred and not attempts):
            if attempts == _ATTEMPTS:
                linear.note = "not reached: what it gives does not follow the scale of its kernel"
                self._scale(linear, 1 / factors)
                factors = np.ones(blocks)
                break
            biases = linear.biases(now[0].mean.size)
            step = np.array([self._factor(linear, moments, biases, gate, centred) for gate, moments in enumerate(now)])
            factors *= step
            self._scale(linear, step)
            new_biases = -step[0] * (now[0].mean - biases) if centred else biases
            if centred:
                linear.bias.assign(ops.reshape(ops.convert_to_tensor(new_biases, linear.bias.dtype), linear.bias.shape))
            if attempts == 0 and linear.finish and _wide(tensor, linear.kernels[0].variable):
                # What the layer would give now, without running it again.
                tensor = linear.shifted(tensor, float(step[0]), new_biases - step[0] * biases)
                output = linear.finish(tensor)
            else:
                tensor, output = linear.run(True)
            now = self._measured(linear, tensor)
            attempts += 1
        if attempts in (0, _ATTEMPTS):
            tensor, output = linear.run(True)
            now = self._measured(linear, tensor)
        self._enter(linear, first, now, factors, centred)
        self.on_layer()
        return output

    def draw(self, weights: list[PlacedWeight]) -> None:
        """Draws kernels orthogonal, if that is wanted."""
        if not self.settings.orthogonal:
            return
        for weight in weights:
            shape = tuple(weight.variable.shape)
            law = of_gain(weight.role, shape, 1.0, "").keyed(key_of(self.settings.seed, weight.place))
            weight.variable.assign(law.initializer(shape, dtype=weight.variable.dtype))

    def _measured(self, linear: LinearMap, tensor: Any) -> list[UnitMoments]:
        """Moments of the pre-activation, gate by gate."""
        moments = linear.moments(tensor)
        if not (np.isfinite(moments.mean).all() and np.isfinite(moments.variance).all()):
            raise Refused(
                f"The pre-activations of layer {_name(linear)!r} are NaN or infinite on this batch. "
                f"Its kernel, its bias or what comes before it is too large for {tensor.dtype}, or no number: look at "
                "the weights that lsuv leaves alone (biases, normalization), or scale `x` down."
            )
        blocks = len(linear.gates)
        if not blocks:
            return [moments]
        parts = zip(np.split(moments.mean, blocks), np.split(moments.variance, blocks), strict=True)
        return [UnitMoments(mean, variance) for mean, variance in parts]

    def _reached(self, measured: list[UnitMoments]) -> bool:
        target = self.settings.target_std
        return all(abs(moments.std - target) <= self.settings.tolerance * target for moments in measured)

    def _factor(self, linear: LinearMap, moments: UnitMoments, bias: Any, gate: int, centred: bool) -> float:
        target = self.settings.target_std
        product = UnitMoments(moments.mean - bias, moments.variance)
        name = _name(linear, gate)
        if not product.has_spread or (centred and not product.has_spread_in_units):
            raise Refused(
                f"The pre-activations of layer {name!r} have no spread over this batch: no factor of its kernel gives "
                f"them a standard deviation of {target:g}. What comes in is the same for every example, or its kernel "
                "is 0. Pass examples that differ, orthogonal=True for a new kernel, or look at the layer before: a "
                "ReLU whose inputs are all negative gives 0 alone, which centre=True or a smaller bias there mends."
            )
        if centred:
            product, bias = UnitMoments(np.zeros_like(bias), moments.variance), np.zeros_like(bias)
        factor = scale_to(target, product, bias)
        if factor is None:
            raise Refused(
                f"The biases of layer {name!r} spread more than the wanted standard deviation of {target:g}, whatever "
                "the scale of its kernel. Pass centre=True, which sets them, a larger `target_std`, or set them to 0."
            )
        return float(factor ** (1.0 / len(linear.kernels)))

    def _scale(self, linear: LinearMap, factors: Any) -> None:
        for weight in linear.kernels:
            variable = weight.variable
            by_unit = np.repeat(factors, variable.shape[-1] // len(factors)) if len(factors) > 1 else None
            with own_dtypes():
                half = variable.dtype not in ("float32", "float64")
                value = ops.cast(variable, "float32") if half else ops.convert_to_tensor(variable)
                factor = float(factors[0]) if by_unit is None else ops.convert_to_tensor(by_unit, value.dtype)
                variable.assign(value * factor)

    def _enter(
        self, linear: LinearMap, first: list[UnitMoments], last: list[UnitMoments], factors: Any, centred: bool
    ) -> None:
        names = [weight.name for weight in linear.kernels]
        bias = None
        if self.settings.centre:
            recurrent = linear.gates or isinstance(linear.kernels[0].layer, CELLS)
            bias = "centred" if centred else "kept" if recurrent else "none"
        for gate, (before, after) in enumerate(zip(first, last, strict=True)):
            notes = [linear.note] if linear.note else []
            if not after.has_spread_in_units:
                notes.append("the same for every example: spread over the units alone")
            self.rows.append(
                {
                    "layer": _name(linear, gate),
                    "weights": ", ".join(names),
                    "std_before": before.std,
                    "std_after": after.std,
                    "factor": float(factors[gate]) if math.isfinite(factors[gate]) else None,
                    "bias": bias,
                    "note": "; ".join(notes) or None,
                    "place": linear.kernels[0].layer_place,
                }
            )


def _wide(*tensors: Any) -> bool:
    """Whether rounding is far below any tolerance."""
    return all(keras.backend.standardize_dtype(tensor.dtype) in ("float32", "float64") for tensor in tensors)


def _name(linear: LinearMap, gate: int = 0) -> str:
    """The layer's place, and which of its maps or gates it is."""
    part = linear.gates[gate] if linear.gates else linear.name
    place = linear.kernels[0].layer_place
    return f"{place}:{part}" if part else place
