"""How much of a convolution's kernel meets its input, where the rest meets zeros."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_initlab.model_init.graph import Graph

__all__ = ["met_shares"]

_CONVOLUTIONS = (
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
    *(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D),
)


def met_shares(graph: Graph) -> dict[int, float]:
    """Share of the kernel's taps that meet the input, in the mean over all positions, by ``id`` of the layer.

    A 3×3 kernel on 8×8 zero-padded positions meets 22/24 of its taps along each axis: its output has (22/24)² = .8403
    of the variance that its fan-in promises. The first call of a layer counts; where a size is not known, or nothing
    is padded, the share is 1.

    Args:
        graph: The model's.
    """
    found: dict[int, float] = {}
    for call in graph.calls:
        layer = call.operation.layer if isinstance(call.operation, keras.layers.TimeDistributed) else call.operation
        if isinstance(layer, _CONVOLUTIONS) and layer.padding in ("same", "causal"):
            found.setdefault(id(layer), _share(layer, call.inputs[0].shape))
    return found


def _share(layer: Any, shape: tuple[int | None, ...]) -> float:
    rank = len(layer.kernel_size)
    sizes = shape[-rank:] if layer.data_format == "channels_first" else shape[-rank - 1 : -1]
    along = zip(sizes, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    return math.prod(1.0 if n is None else _along(n, k, s, d, layer.padding) for n, k, s, d in along)


def _along(size: int, kernel: int, stride: int, dilation: int, padding: str) -> float:
    """The share along one axis."""
    reach, outputs = (kernel - 1) * dilation, -(-size // stride)
    before = reach if padding == "causal" else max((outputs - 1) * stride + reach + 1 - size, 0) // 2
    taps = np.arange(outputs)[:, None] * stride - before + np.arange(kernel) * dilation
    return float(((taps >= 0) & (taps < size)).mean())
