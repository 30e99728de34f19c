"""One hidden layer with a decoder behind it, to be trained on what the layer gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

__all__ = ["CONVOLUTIONS", "Autoencoder"]

_layers = keras.layers
CONVOLUTIONS = (
    _layers.Conv1D,
    _layers.Conv2D,
    _layers.Conv3D,
    _layers.DepthwiseConv1D,
    _layers.DepthwiseConv2D,
    _layers.SeparableConv1D,
    _layers.SeparableConv2D,
)
_TRANSPOSED = {1: _layers.Conv1DTranspose, 2: _layers.Conv2DTranspose, 3: _layers.Conv3DTranspose}


class Autoencoder(keras.Model):
    """A layer, what the model does with its output, and a decoder that gives the layer's input back.

    The decoder is a Dense layer for a Dense layer, and for a convolution a transposed one with the same strides.
    Inputs that all lie in [0, 1] are decoded by a sigmoid; others by a linear layer, in units of their standard
    deviation around the mean of each feature. The decoder begins at that mean, so that only what differs from example
    to example is left to be learned.

    Args:
        encoder: The Dense layer or convolution; its own variables are trained.
        after: What is done with its output; no weights in it are trained.
        inputs: What the encoder gets, float32.
        seed: Of the decoder's kernel.
    """

    def __init__(self, encoder: Any, after: Callable[[Any], Any], inputs: Any, seed: int) -> None:
        super().__init__(name="autoencoder", dtype="float32")
        self.encoder, self.after = encoder, after
        self.window = _window(encoder, inputs.shape)
        self.binary = bool(inputs.min() >= 0 and inputs.max() <= 1)
        self.others = tuple(axis for axis in range(inputs.ndim) if axis != _channel_axis(encoder) % inputs.ndim)
        self.mean = inputs.mean(self.others, dtype="float64", keepdims=True)
        std = float(np.sqrt(np.mean(np.square(inputs - self.mean))))
        self.constant = std <= 1e-6 * float(np.abs(self.mean).max())
        self.std = std or 1.0
        self.decoder = self._make_decoder(inputs.shape[_channel_axis(encoder)], seed)
        self(inputs[:1])

    def _make_decoder(self, features: int, seed: int) -> Any:
        start = np.clip(self.mean.ravel(), 1e-3, 1 - 1e-3)
        start = np.log(start / (1 - start)) if self.binary else np.zeros(features)
        common = {
            "kernel_initializer": keras.initializers.GlorotUniform(seed=seed),
            "bias_initializer": lambda shape, dtype=None: keras.ops.convert_to_tensor(start, dtype),
            "activation": "sigmoid" if self.binary else "linear",
            "dtype": "float32",
            "name": "decoder",
        }
        encoder = self.encoder
        if not isinstance(encoder, CONVOLUTIONS):
            return _layers.Dense(features, **common)
        transposed = _TRANSPOSED[len(encoder.kernel_size)]
        return transposed(features, _reach(encoder), strides=encoder.strides, data_format=encoder.data_format, **common)

    def targets(self, inputs: Any) -> Any:
        """What the decoder is to say: strides may leave the last rows of the input unseen."""
        seen = inputs[tuple(slice(0, size) for _, size in self.window)]
        return seen if self.binary else ((seen - self.mean) / self.std).astype("float32")

    def call(self, inputs: Any) -> Any:
        """The targets as reconstructed from the layer's output."""
        decoded = self.decoder(self.after(self.encoder(inputs)))
        return decoded[tuple(slice(start, start + size) for start, size in self.window)]

    def learn(self, inputs: Any, epochs: int, batch_size: int, rate: float, order: Any) -> Iterator[tuple[int, float]]:
        """Train encoder and decoder by Adam; gives the number of epochs that are done at a time, and their loss.

        Args:
            inputs: What the encoder gets.
            epochs: Passes over the inputs.
            batch_size: Examples for each step.
            rate: Of learning.
            order: A NumPy generator, for the order of the examples: Keras would shuffle with the global random state.
        """
        # Of cross-entropy the gradient does not vanish where the sigmoid is flat.
        loss = "binary_crossentropy" if self.binary else "mean_squared_error"
        self.compile(keras.optimizers.Adam(rate, name="adam"), loss)
        # Each call of `fit` has a price, so that small data go in several epochs at a time.
        together = max(1, 2**22 // inputs.size)
        for start in range(0, epochs, together):
            passes = min(together, epochs - start)
            indices = np.concatenate([order.permutation(len(inputs)) for _ in range(passes)])
            # The last batch is filled up with the first examples, so that the training step is compiled for one shape.
            h = inputs[np.resize(indices, -(-len(indices) // batch_size) * batch_size)]
            history = self.fit(h, self.targets(h), batch_size=batch_size, shuffle=False, verbose=0).history
            yield passes, history["loss"][-1]

    def relative_error(self, inputs: Any, batch_size: int) -> float:
        """Mean square of the error, divided by that of a decoder that always says the mean of each feature."""
        targets = self.targets(inputs)
        spread = np.mean(np.square(targets - targets.mean(self.others, dtype="float64", keepdims=True)))
        total = 0.0
        for start in range(0, len(inputs), batch_size):
            decoded = keras.ops.convert_to_numpy(self(inputs[start : start + batch_size], training=False))
            total += np.sum(np.square(decoded - targets[start : start + batch_size], dtype="float64"))
        return float(total / targets.size / spread)


def _channel_axis(layer: Any) -> int:
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _reach(layer: Any) -> list[int]:
    """How far a kernel reaches along each spatial axis, its holes counted."""
    return [(size - 1) * rate + 1 for size, rate in zip(layer.kernel_size, layer.dilation_rate, strict=True)]


def _window(layer: Any, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Along each axis, where the decoder's output begins to be the layer's input, and how much of it is seen."""
    whole = np.iinfo("int32").max
    window = [(0, whole)] * len(shape)
    if isinstance(layer, CONVOLUTIONS):
        first = 2 if _channel_axis(layer) == 1 else 1
        for axis, (reach, stride) in enumerate(zip(_reach(layer), layer.strides, strict=True), start=first):
            size = shape[axis]
            steps = (size - reach) // stride + 1 if layer.padding == "valid" else -(-size // stride)
            span = (steps - 1) * stride + reach
            before = {"valid": 0, "same": max(span - size, 0) // 2, "causal": reach - 1}[layer.padding]
            window[axis] = (before, min(size, span - before))
    return window
