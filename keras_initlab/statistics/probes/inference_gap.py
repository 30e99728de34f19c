"""The gap between what a layer puts out in training and what it would put out in inference, on the same batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_initlab.statistics.blocks import Block, Subject, blocks_of
from keras_initlab.statistics.layers import MeasuredLayer
from keras_initlab.statistics.layout import Key
from keras_initlab.statistics.probes.apart import apart, model_apart
from keras_initlab.statistics.taps import Taps
from keras_initlab.statistics.tensor_stats import FIELDS, statistics_of, widen

Outputs = Mapping[tuple[str, str | None], Any]


class _InferenceTaps(Taps):
    """Taps that leave out the moments of the batch, which inference has no use for and replicas could not exchange."""

    def _note_batchnorm(self, *arguments: Any) -> None:
        pass


def inference_outputs(model: Any, entries: list[MeasuredLayer], data: Any) -> Outputs:
    """What the layers put out in inference mode for the batch of a step, with the weights that they have now.

    Raises:
        CannotMeasureError: the model does not take the batch by itself.
    """
    names: list[tuple[str, str | None]] = []

    def run(data: Any) -> list[Any]:
        x, *_ = keras.utils.unpack_x_y_sample_weight(data)
        taps = _InferenceTaps(entries, read=lambda tensor: tensor, strict=True)
        with taps.watch():
            model(x, training=False) if model._call_has_training_arg else model(x)
        outputs = [tap for tap in taps.tensors if tap.quantity == "activation"]
        names[:] = [(tap.layer, tap.variable) for tap in outputs]
        return [tap.tensor for tap in outputs]

    tensors = model_apart(model, run, data)
    return dict(zip(names, tensors, strict=True))


def gaps(taps: Taps, inference: Outputs, shortcut: bool) -> tuple[Any, tuple[Key, ...], dict[str, str]]:
    """Statistics of output in training less output in inference.

    Args:
        taps: of the training step.
        inference: as `inference_outputs` gives them.
        shortcut: as in `statistics_of`.

    Returns:
        A float64 tensor (gaps, FIELDS), the keys of their rows, and why some layers have none.
    """
    pairs: list[tuple[Any, Any]] = []
    keys: list[Key] = []
    skipped: dict[str, str] = {}
    missing = {layer for layer, _ in inference}
    for tap in (tap for tap in taps.tensors if tap.quantity == "activation"):
        missing.discard(tap.layer)
        other = inference.get((tap.layer, tap.variable))
        if other is None:
            skipped[tap.layer] = "it does not run in inference"
        elif not tap.tensor.shape.is_compatible_with(other.shape):
            skipped[tap.layer] = "its output has another shape in inference"
        else:
            pairs.append((taps.read(tap.tensor), other))
            keys.append((tap.depth, tap.layer, "inference_gap", tap.variable))
    skipped.update((layer, "it does not run in training") for layer in missing)
    if not pairs:
        return tf.zeros((0, len(FIELDS)), tf.float64), (), skipped
    return apart(lambda pairs: _statistics(pairs, shortcut), pairs), tuple(keys), skipped


def _statistics(pairs: Sequence[tuple[Any, Any]], shortcut: bool) -> Any:
    differences = [_difference(*pair) for pair in pairs]
    # A block by the shape of the outputs: that of the columns is often not known.
    blocks = blocks_of([Subject(training) for training, _ in pairs])
    found = [statistics_of(Block([Subject(differences[i]) for i in block]), shortcut, False).fields for block in blocks]
    order = np.argsort([i for block in blocks for i in block])
    return tf.gather(tf.concat(found, axis=0), order)


def _difference(training: Any, inference: Any) -> Any:
    """A column; empty where the shapes turn out to differ."""
    static = training.shape.is_fully_defined() and inference.shape.is_fully_defined()
    if not static:
        one, other = tf.shape(training), tf.shape(inference)
        size = tf.minimum(one, other) * tf.cast(tf.reduce_all(one == other), tf.int32)
        training, inference = (tf.slice(x, tf.zeros_like(size), size) for x in (training, inference))
    return tf.reshape(widen(training) - widen(inference), (-1, 1))
