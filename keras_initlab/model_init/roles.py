"""What every weight of a layer is: the one table of roles.

An initializer sees a shape; which of its axes are summed over, which lay out units, and how often an input is used,
only the layer knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import keras

# Keras exports the layers and keeps their cell to itself.
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell

from keras_initlab.initializers.gates import GATES
from keras_initlab.theory import fans

__all__ = ["KINDS", "LayerWeight", "Role", "own_weights", "register_roles"]

KINDS = {
    "kernel": "multiplied with the layer's input",
    "recurrent_kernel": "multiplied with a recurrent layer's own state",
    "embedding": "a vector for each index",
    "bias": "added to the product",
    "scale": "multiplied with a normalized value or a score",
    "offset": "added to a normalized value",
    "slope": "of an activation's negative side",
    "moving_statistic": "of the inputs that were seen in training",
    "state": "of an iteration that the layer runs beside its work",
    "fixed": "made from data or by a formula; left alone",
    "adapted": "quantized or under low-rank adaptation; left alone",
    "unknown": "of a layer that is in no table; left alone unless its layer has an initializer for it",
}
"""Every kind of weight, and what it does."""

LEFT_ALONE = ("fixed", "adapted")

Layer = TypeVar("Layer", bound=type)


@dataclass(frozen=True)
class Role:
    """What a weight is in its layer.

    Args:
        kind: One of ``KINDS``.
        input_axes: Axes that are summed over. None, in both lists: Keras's convention, as in ``theory.weight_axes``.
        output_axes: Axes that lay out the output units.
        batch_axes: Axes along which whole weights are stacked. The rest is the receptive field.
        cell: ``"lstm"`` or ``"gru"`` if the gates' weights lie side by side on the last axis; None for one weight.
        groups: Groups of a convolution.
        strides: Steps of a convolution, one for each spatial axis.
        transposed: Whether the convolution is transposed.
        note: What a report should say of it.

    Raises:
        ValueError: The kind is unknown.

    Example:
        >>> Role("kernel", (-2,), (-1,), groups=4).fans((3, 3, 16, 32))
        (144, 72)
    """

    kind: str
    input_axes: tuple[int, ...] | None = None
    output_axes: tuple[int, ...] | None = None
    batch_axes: tuple[int, ...] = ()
    cell: str | None = None
    groups: int = 1
    strides: int | tuple[int, ...] = 1
    transposed: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"Argument `kind` must be one of {', '.join(KINDS)}. Received: kind={self.kind!r}. "
                'A weight that is none of them is "unknown".'
            )

    @property
    def gates(self) -> int:
        """How many gates' weights lie side by side on the last axis."""
        return len(GATES[self.cell]) if self.cell else 1

    def fans(self, shape: tuple[int, ...]) -> tuple[float, float] | None:
        """Inputs that feed one unit, and units that one input feeds.

        Args:
            shape: Sizes of the weight's axes.

        Returns:
            ``(fan_in, fan_out)`` of kernels; of an embedding its dimension twice, since a row is looked up and not
            summed; None of everything else.
        """
        if self.kind == "embedding":
            return (shape[-1], shape[-1])
        if self.kind not in ("kernel", "recurrent_kernel"):
            return None
        return fans(
            shape,
            self.input_axes,
            self.output_axes,
            self.batch_axes,
            groups=self.groups * self.gates,
            strides=self.strides,
            transposed=self.transposed,
        )


class LayerWeight(NamedTuple):
    """A weight that belongs to a layer itself and to none of the layers inside it.

    Attributes:
        name: Its name in the layer.
        variable: The Keras variable.
        role: What it is.
        initializer: The layer's own initializer of it; None where there is none to be found.
    """

    name: str
    variable: Any
    role: Role
    initializer: Any


Roles = Mapping[str, Role]
_DENSE = (0,), (1,)
_CONV = (-2,), (-1,)
_BIAS = Role("bias")
_SCALE, _OFFSET, _MOVING, _FIXED = Role("scale"), Role("offset"), Role("moving_statistic"), Role("fixed")
_REGISTERED: dict[type, Callable[[Any], Roles]] = {}


def register_roles(*classes: type) -> Callable[[Callable[[Any], Roles]], Callable[[Any], Roles]]:
    """Tell the roles of the weights of layer classes; a subclass has those of its base.

    A class of your own can say them itself: a method ``keras_initlab_roles()`` goes before this table.

    Args:
        *classes: Layer classes.

    Returns:
        A decorator for a function that takes a layer and gives the ``Role`` of each of its own weights by name.

    Example:
        >>> class Scaled(keras.layers.Layer):
        ...     def build(self, input_shape):
        ...         self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
        >>> @register_roles(Scaled)
        ... def _(layer):
        ...     return {"scale": Role("scale")}
        >>> layer = Scaled()
        >>> layer.build((None, 3))
        >>> own_weights(layer)[0].role.kind
        'scale'
    """

    def enter(function: Callable[[Any], Roles]) -> Callable[[Any], Roles]:
        _REGISTERED.update(dict.fromkeys(classes, function))
        return function

    return enter


def own_weights(layer: Any) -> list[LayerWeight]:
    """The weights of a layer itself, with their roles.

    Args:
        layer: A built Keras layer.

    Returns:
        One entry for each variable, seeds and metrics left out.
    """
    # A wrapper such as SpectralNormalization lists the kernel of the layer inside it as its own too.
    inner = {id(v) for child in layer._flatten_layers(include_self=False) for v in _variables(child)}
    variables = [v for v in _variables(layer) if id(v) not in inner]
    declared = _declared(layer)
    weights = [_weight(layer, variable, declared) for variable in variables]
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        what = "quantized" if getattr(layer, "quantization_mode", None) else "under low-rank adaptation"
        weights = [w._replace(role=Role("adapted", note=f"left alone: the layer is {what}")) for w in weights]
    return weights


def _variables(layer: Any) -> list[Any]:
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _declared(layer: Any) -> Roles:
    """What the layer says, else what its nearest registered class says."""
    if hasattr(layer, "keras_initlab_roles"):
        return dict(layer.keras_initlab_roles())
    return next((_REGISTERED[cls](layer) for cls in type(layer).__mro__ if cls in _REGISTERED), {})


def _weight(layer: Any, variable: Any, declared: Roles) -> LayerWeight:
    name = str(variable.name)
    role = declared.get(name) or _guessed(layer, variable)
    return LayerWeight(name, variable, role, _initializer(layer, name))


def _guessed(layer: Any, variable: Any) -> Role:
    """A matrix is taken for a kernel as Keras does; of what a vector is for, its shape says nothing."""
    what = f"{type(layer).__name__} is in no table of roles"
    if not keras.backend.is_float_dtype(variable.dtype):
        return Role("fixed", note="left alone: it holds no floats")
    if len(variable.shape) < 2 or not variable.trainable:
        return Role("unknown", note=what)
    return Role("kernel", note=f"{what}: axes guessed from the shape")


# Where Keras gives the initializer another name than the weight's.
_INITIALIZER_NAMES = {
    "recurrent_kernel": "recurrent_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
    "reverse_embeddings": "embeddings_initializer",
    "renorm_mean": "moving_mean_initializer",
}
# Where Keras writes the law into the layer's build.
_WRITTEN_IN = {
    "RMSNormalization": {"scale": "ones"},
    "Attention": {"scale": "ones", "concat_score_weight": "ones"},
    "AdditiveAttention": {"scale": "glorot_uniform"},
    "BatchNormalization": {"moving_stddev": "ones", "renorm_stddev": "ones"},
    "SpectralNormalization": {"vector_u": keras.initializers.TruncatedNormal(stddev=0.02)},
}


def _initializer(layer: Any, name: str) -> Any:
    for cls in type(layer).__mro__:
        if name in _WRITTEN_IN.get(cls.__name__, ()):
            return keras.initializers.get(_WRITTEN_IN[cls.__name__][name])
    if name == "kernel" and hasattr(layer, "depthwise_initializer"):
        return layer.depthwise_initializer
    return getattr(layer, _INITIALIZER_NAMES.get(name, f"{name}_initializer"), None)


# -- the table ---------------------------------------------------------------------------------------------------------

_layers = keras.layers


@register_roles(_layers.Dense)
def _dense(layer: Any) -> Roles:
    return {"kernel": Role("kernel", *_DENSE), "bias": _BIAS}


@register_roles(_layers.EinsumDense)
def _einsum(layer: Any) -> Roles:
    return {"kernel": Role("kernel", *_of_equation(layer.equation)), "bias": _BIAS}


def _of_equation(equation: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Axes of the second operand that are summed, that are laid out in the result, and that all three share."""
    operands, result = equation.replace(" ", "").replace("...", "").split("->")
    data, kernel = operands.split(",")
    places = [(axis, letter in data, letter in result) for axis, letter in enumerate(kernel)]
    summed = tuple(axis for axis, before, after in places if before and not after)
    laid_out = tuple(axis for axis, before, after in places if after and not before)
    return summed, laid_out, tuple(axis for axis, before, after in places if before and after)


@register_roles(_layers.Embedding)
def _embedding(layer: Any) -> Roles:
    return {"embeddings": Role("embedding", *_DENSE), "reverse_embeddings": Role("kernel", *_DENSE)}


@register_roles(_layers.Conv1D, _layers.Conv2D, _layers.Conv3D)
def _conv(layer: Any) -> Roles:
    return {"kernel": Role("kernel", *_CONV, groups=layer.groups, strides=tuple(layer.strides)), "bias": _BIAS}


@register_roles(_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose)
def _conv_transpose(layer: Any) -> Roles:
    return {"kernel": Role("kernel", (-1,), (-2,), strides=tuple(layer.strides), transposed=True), "bias": _BIAS}


@register_roles(_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)
def _depthwise(layer: Any) -> Roles:
    return {"kernel": Role("kernel", (), (-1,), (-2,), strides=tuple(layer.strides)), "bias": _BIAS}


@register_roles(_layers.SeparableConv1D, _layers.SeparableConv2D)
def _separable(layer: Any) -> Roles:
    return {
        "depthwise_kernel": _depthwise(layer)["kernel"],
        "pointwise_kernel": Role("kernel", *_CONV),
        "bias": _BIAS,
    }


def _recurrent(cell: str | None) -> Roles:
    return {
        "kernel": Role("kernel", *_DENSE, cell=cell),
        "recurrent_kernel": Role("recurrent_kernel", *_DENSE, cell=cell),
        "bias": Role("bias", cell=cell),
    }


@register_roles(_layers.SimpleRNNCell)
def _simple_rnn_cell(layer: Any) -> Roles:
    return _recurrent(None)


@register_roles(_layers.LSTMCell)
def _lstm_cell(layer: Any) -> Roles:
    return _recurrent("lstm")


@register_roles(_layers.GRUCell)
def _gru_cell(layer: Any) -> Roles:
    return _recurrent("gru")


@register_roles(ConvLSTMCell)
def _conv_lstm_cell(layer: Any) -> Roles:
    kernel = Role("kernel", *_CONV, cell="lstm", strides=tuple(layer.strides))
    recurrent = replace(kernel, kind="recurrent_kernel", strides=1)
    return {"kernel": kernel, "recurrent_kernel": recurrent, "bias": Role("bias", cell="lstm")}


@register_roles(_layers.BatchNormalization, _layers.LayerNormalization, _layers.GroupNormalization)
def _normalization(layer: Any) -> Roles:
    moving = ("moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev")
    return {"gamma": _SCALE, "beta": _OFFSET, **dict.fromkeys(moving, _MOVING)}


@register_roles(_layers.RMSNormalization)
def _rms_normalization(layer: Any) -> Roles:
    return {"scale": _SCALE}


@register_roles(_layers.SpectralNormalization)
def _spectral_normalization(layer: Any) -> Roles:
    return {"vector_u": Role("state")}


@register_roles(_layers.PReLU)
def _prelu(layer: Any) -> Roles:
    return {"alpha": Role("slope")}


@register_roles(_layers.Attention)
def _attention(layer: Any) -> Roles:
    return {"scale": _SCALE, "concat_score_weight": _SCALE}


@register_roles(_layers.AdditiveAttention)
def _additive_attention(layer: Any) -> Roles:
    # Summed over with the tanh of query and key: one score for each pair.
    return {"scale": Role("kernel", (0,), ())}


@register_roles(_layers.Normalization)
def _data_normalization(layer: Any) -> Roles:
    return dict.fromkeys(("mean", "variance", "count"), _FIXED)


@register_roles(_layers.STFTSpectrogram)
def _spectrogram(layer: Any) -> Roles:
    return dict.fromkeys(("real_kernel", "imag_kernel"), _FIXED)
