"""Which law a weight is drawn from: an initializer whose fans, axes and gates are those of its layer."""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import keras

from keras_initlab.initializers import (
    Initializer,
    LSTMForgetBias,
    Orthogonal,
    PerGate,
    PortableSeed,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
)
from keras_initlab.initializers.per_gate import with_seed
from keras_initlab.initializers.seeds import fold
from keras_initlab.initializers.variance_scaling import scaled_stddev
from keras_initlab.model_init.places import PlacedWeight
from keras_initlab.model_init.roles import Role
from keras_initlab.theory import truncated_moments, weight_axes

__all__ = ["Law", "configured", "fitted", "key_of", "of_gain"]


class Law(NamedTuple):
    """A law for one weight.

    Attributes:
        initializer: Draws it.
        name: What a report calls it.
        target: Standard deviation that it gives; None where it has no single one.
        less: Of a bias: what to take off for each weight into the unit, to remove the mean of the layer's input.
    """

    initializer: Any
    name: str
    target: float | None = None
    less: float = 0.0

    def keyed(self, key: Any) -> Law:
        """The same law with a seed of its own."""
        if isinstance(self.initializer, _ForgetGateOne):
            inner = Law(self.initializer.initializer, "").keyed(key).initializer
            return self._replace(initializer=_ForgetGateOne(inner, self.initializer.units))
        drawing = self.initializer
        while isinstance(drawing, PerGate):
            drawing = drawing.initializer
        # Of the portable seeds Keras's own laws know nothing.
        ours = isinstance(drawing, Initializer)
        seed = key.seed % 2**31 if isinstance(key, PortableSeed) and not ours else key
        return self._replace(initializer=with_seed(self.initializer, seed))


def key_of(seed: Any, place: str) -> Any:
    """The seed of the weight at a place: the same in every process, whatever else the model contains."""
    return fold(seed, int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big"))


def configured(weight: PlacedWeight) -> Law | None:
    """The layer's own initializer of a weight, fitted to its role; None where the layer has none."""
    if weight.initializer is None:
        return None
    law = fitted(weight.initializer, weight.role, tuple(weight.variable.shape))
    if weight.role.kind == "bias" and getattr(weight.layer, "unit_forget_bias", False):
        return _with_forget_bias(law, weight.variable.shape[-1] // 4)
    return law


def fitted(initializer: Any, role: Role, shape: tuple[int, ...]) -> Law:
    """An initializer with the fans, axes and gates of a role; one that declares axes itself is left as it is."""
    name = type(initializer).__name__ if not callable(getattr(initializer, "__name__", None)) else "callable"
    name = getattr(initializer, "__name__", name)
    declares = any(getattr(initializer, axes, None) for axes in ("input_axes", "output_axes", "batch_axes"))
    fans = role.fans(shape)
    if declares or fans is None:
        return Law(initializer, name, _deviation(initializer))
    if isinstance(initializer, keras.initializers.VarianceScaling):
        stddev = scaled_stddev(initializer, *fans)
        return Law(_DISTRIBUTIONS[initializer.distribution](stddev), name, stddev)
    if isinstance(initializer, (Orthogonal, keras.initializers.Orthogonal)) and len(shape) > 1:
        return _orthogonal(initializer, role, shape, name)
    return Law(initializer, name, _deviation(initializer))


def of_gain(role: Role, shape: tuple[int, ...], factor: float, name: str, *, orthogonal: bool = True) -> Law:
    """The law of a kernel with ``E w² = factor² / fan_in``.

    Args:
        role: Of a kernel.
        shape: Its shape.
        factor: The gain.
        name: What a report says behind the law's name.
        orthogonal: Whether the matrix is orthogonal; normal otherwise, as is what is no matrix.
    """
    fans = role.fans(shape)
    assert fans is not None
    stddev = factor / math.sqrt(max(1.0, fans[0]))
    if not orthogonal or len(shape) < 2 or 0 in shape:
        return Law(_truncated(stddev), f"TruncatedNormal, {name}", stddev)
    rows, columns = _matrix(role, shape)
    law = _orthogonal(Orthogonal(gain=stddev * math.sqrt(max(rows, columns))), role, shape, "Orthogonal")
    return law._replace(name=f"Orthogonal, {name}")


def _deviation(initializer: Any) -> float | None:
    """Standard deviation of a law that does not look at the shape; None where it has no single one."""
    if isinstance(initializer, PerGate):
        return _deviation(initializer.initializer)
    name = type(initializer).__name__
    if name in ("Zeros", "Ones", "Constant"):
        return 0.0
    if name == "RandomUniform":
        return float(initializer.maxval - initializer.minval) / math.sqrt(12.0)
    if name == "RandomNormal":
        return float(initializer.stddev)
    if name == "TruncatedNormal":
        return _cut(initializer)
    return None


def _cut(initializer: Any) -> float:
    sigma = float(initializer.stddev)
    bounds = getattr(initializer, "lower", -2.0), getattr(initializer, "upper", 2.0)
    if getattr(initializer, "stddev_of", "normal") == "values" or sigma == 0:
        return sigma
    lower, upper = (math.copysign(math.inf, side) if b is None else b for side, b in zip((-1, 1), bounds, strict=True))
    if getattr(initializer, "units", "stddev") == "absolute":
        lower, upper = (lower - initializer.mean) / sigma, (upper - initializer.mean) / sigma
    return sigma * truncated_moments(lower, upper)[1]


def _truncated(stddev: float) -> TruncatedNormal:
    return TruncatedNormal(stddev=stddev, stddev_of="values")


def _uniform(stddev: float) -> RandomUniform:
    return RandomUniform(-math.sqrt(3.0) * stddev, math.sqrt(3.0) * stddev)


def _normal(stddev: float) -> RandomNormal:
    return RandomNormal(stddev=stddev)


_DISTRIBUTIONS = {
    "truncated_normal": _truncated,
    "normal": _truncated,
    "untruncated_normal": _normal,
    "uniform": _uniform,
}


def _orthogonal(initializer: Any, role: Role, shape: tuple[int, ...], name: str) -> Law:
    """Orthogonal over the role's axes, a matrix for each gate and group."""
    config = initializer.get_config() if isinstance(initializer, Orthogonal) else {"gain": float(initializer.gain)}
    axes = {"input_axes": role.input_axes, "output_axes": role.output_axes, "batch_axes": role.batch_axes or None}
    law = Orthogonal.from_config({**config, **axes})
    rows, columns = _matrix(role, shape)
    widened = max(columns / max(rows, 1), 1.0) if law.variance_preserving else 1.0
    target = law.gain * math.sqrt(widened / max(rows, columns, 1))
    blocks = role.gates * role.groups
    return Law(PerGate(law, blocks) if blocks > 1 else law, name, target)


def _matrix(role: Role, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of one gate's and group's matrix."""
    axes = weight_axes(shape, role.input_axes, role.output_axes, role.batch_axes)
    rows = math.prod(shape[axis] for axis in axes.inputs + axes.receptive)
    columns = math.prod(shape[axis] for axis in axes.outputs)
    return rows, columns // (role.gates * role.groups)


class _ForgetGateOne:
    """What Keras's ``unit_forget_bias`` makes of a bias initializer."""

    def __init__(self, initializer: Any, units: int) -> None:
        self.initializer, self.units = initializer, units

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        u, bias = self.units, self.initializer(shape, dtype=dtype)
        return keras.ops.concatenate([bias[:u], keras.ops.ones_like(bias[u : 2 * u]), bias[2 * u :]])


def _with_forget_bias(law: Law, units: int) -> Law:
    if isinstance(law.initializer, keras.initializers.Zeros):
        return Law(LSTMForgetBias(units), "LSTMForgetBias")
    return Law(_ForgetGateOne(law.initializer, units), f"{law.name}, forget gate 1")
