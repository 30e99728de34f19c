"""Every kind of layer with a kernel: how it is made, what Keras counts for its fans, and what a unit truly sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import layers

from keras_initlab.lab.networks import Law

__all__ = ["KINDS", "Fans", "Kind"]


class Fans(NamedTuple):
    """What Keras counts for a kernel, and how many inputs a unit truly sums."""

    keras_in: int
    keras_out: int
    true_in: float


class Kind(NamedTuple):
    """A kind of layer.

    Attributes:
        layer: makes one, given a law of kernels by a seed.
        shape: of one example.
        fans: of each kernel that the signal goes through.
        units: outputs at one place.
        read: the outputs that are measured, of the layer and the examples; those whose every input is there.
        padded: share of the taps that meet the input and no padding.
    """

    layer: Callable[[Law], Any]
    shape: tuple[int, ...]
    fans: tuple[Fans, ...]
    units: int
    read: Callable[[Any, Any], Any] = lambda layer, x: layer(x)
    padded: float = 1.0


def _attention(law: Law) -> Any:
    return layers.MultiHeadAttention(4, 32, kernel_initializer=law(0))


def _heads(layer: Any, x: Any) -> Any:
    return layer.output_dense(keras.ops.reshape(x, (*x.shape[:-1], 4, 32)))


def _orthogonal(law: Law) -> Any:
    """Keras's default, with a seed of the run."""
    return keras.initializers.Orthogonal(seed=law(1).seed)


def _lstm(law: Law) -> Any:
    return layers.LSTM(64, kernel_initializer=law(0), recurrent_initializer=_orthogonal(law))


def _gru(law: Law) -> Any:
    return layers.GRU(64, kernel_initializer=law(0), recurrent_initializer=_orthogonal(law))


def _from_input(layer: Any, x: Any) -> Any:
    return keras.ops.matmul(x, layer.cell.kernel)


def _from_state(layer: Any, x: Any) -> Any:
    return keras.ops.matmul(x, layer.cell.recurrent_kernel)


def _dense(law: Law) -> Any:
    return layers.Dense(128, kernel_initializer=law(0))


def _matrices(law: Law) -> Any:
    return layers.EinsumDense("bnd,ndf->bnf", (8, 96), kernel_initializer=law(0))


def _conv(rank: int, filters: int, **settings: Any) -> Callable[[Law], Any]:
    cls = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[rank - 1]
    return lambda law: cls(filters, 3, kernel_initializer=law(0), **settings)


def _transposed(rank: int) -> Callable[[Law], Any]:
    cls = (layers.Conv1DTranspose, layers.Conv2DTranspose)[rank - 1]
    return lambda law: cls(128, 4, strides=2, kernel_initializer=law(0))


def _inner(layer: Any, x: Any) -> Any:
    """Of a transposed convolution with kernel 4 and stride 2: what all of its taps reach."""
    places = (slice(None),) + (slice(2, -2),) * (len(x.shape) - 2)
    return layer(x)[places]


# Keras takes the last axis but one for the inputs, the last for the outputs, and the product of all before it for the
# receptive field. Orthonormal rows of g·u entries, of which a gate's unit gets u, have the variance of a fan of g·u.
KINDS = {
    "Dense": Kind(_dense, (256,), (Fans(256, 128, 256),), 128),
    "Conv1D": Kind(_conv(1, 128), (7, 64), (Fans(192, 384, 192),), 128),
    "Conv2D": Kind(_conv(2, 96), (5, 5, 32), (Fans(288, 864, 288),), 96),
    "Conv3D": Kind(_conv(3, 64), (3, 3, 3, 16), (Fans(432, 1728, 432),), 64),
    "Conv2D, stride 2": Kind(_conv(2, 96, strides=2), (7, 7, 32), (Fans(288, 864, 288),), 96),
    "Conv2D, 4 groups": Kind(_conv(2, 128, groups=4), (5, 5, 64), (Fans(144, 1152, 144),), 128),
    "Conv2D, 8×8 padded": Kind(
        _conv(2, 96, padding="same"), (8, 8, 32), (Fans(288, 864, 288),), 96, padded=(22 / 24) ** 2
    ),
    "DepthwiseConv1D": Kind(
        lambda law: layers.DepthwiseConv1D(3, depthwise_initializer=law(0)), (5, 512), (Fans(1536, 3, 3),), 512
    ),
    "DepthwiseConv2D": Kind(
        lambda law: layers.DepthwiseConv2D(3, depthwise_initializer=law(0)), (5, 5, 256), (Fans(2304, 9, 9),), 256
    ),
    "SeparableConv2D": Kind(
        lambda law: layers.SeparableConv2D(64, 3, depthwise_initializer=law(0), pointwise_initializer=law(1)),
        (5, 5, 256),
        (Fans(2304, 9, 9), Fans(256, 64, 256)),
        64,
    ),
    "Conv1DTranspose": Kind(_transposed(1), (5, 64), (Fans(512, 256, 128),), 128, _inner),
    "Conv2DTranspose": Kind(_transposed(2), (4, 4, 64), (Fans(2048, 1024, 256),), 128, _inner),
    "EinsumDense bnd,ndf->bnf": Kind(_matrices, (8, 64), (Fans(64, 768, 64),), 96),
    "attention, query": Kind(_attention, (3, 128), (Fans(128, 128, 128),), 128, lambda layer, x: layer.query_dense(x)),
    "attention, output": Kind(_attention, (3, 128), (Fans(128, 128, 128),), 128, _heads),
    "LSTM, input": Kind(_lstm, (2, 64), (Fans(64, 256, 64),), 64, _from_input),
    "LSTM, state": Kind(_lstm, (2, 64), (Fans(256, 256, 64),), 64, _from_state),
    "GRU, input": Kind(_gru, (2, 64), (Fans(64, 192, 64),), 64, _from_input),
    "GRU, state": Kind(_gru, (2, 64), (Fans(192, 192, 64),), 64, _from_state),
    "Embedding": Kind(
        lambda law: layers.Embedding(1000, 64, embeddings_initializer=law(0)),
        (2,),
        (Fans(1000, 64, 64),),
        64,
        lambda layer, _: layer.embeddings * 8,
    ),
}
