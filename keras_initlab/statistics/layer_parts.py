"""What the taps know of single layers: their axes, bounds, moments, and what they call inside of themselves."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

NORMALIZATIONS = (keras.layers.LayerNormalization, keras.layers.GroupNormalization, keras.layers.RMSNormalization)


def normalization_statistics(layer: Any, x: Any) -> dict[str, Any]:
    """What a LayerNormalization, GroupNormalization or RMSNormalization divides each example by, from its inputs."""
    if isinstance(layer, keras.layers.GroupNormalization):
        axis = layer.axis % len(x.shape)
        groups = x.shape[axis] if layer.groups == -1 else layer.groups
        order = [0, axis, *(a for a in range(1, len(x.shape)) if a != axis)]
        flat = tf.reshape(tf.transpose(x, order), (tf.shape(x)[0], groups, -1))
        mean, variance = tf.nn.moments(flat, [2])
        return {"mean": mean, "variance": variance}
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if isinstance(layer, keras.layers.RMSNormalization):
        return {"mean_square": tf.reduce_mean(tf.square(x), axes)}
    mean, variance = tf.nn.moments(x, axes)
    return {"mean": mean, "variance": variance}


def inner_methods(layer: Any) -> list[tuple[str, Any]]:
    """What a layer calls inside of itself that is of interest: its activation, and how it takes moments."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [("_moments", layer._moments)]
    activation = vars(layer).get("activation")
    fused = callable(activation) and not isinstance(layer, (keras.layers.RNN, keras.layers.Activation))
    return [("activation", activation)] if fused and activation is not keras.activations.linear else []


def moving_statistics(layer: Any) -> dict[str, Any]:
    """What a BatchNormalization will normalize by in inference; nothing for other layers."""
    if not isinstance(layer, keras.layers.BatchNormalization) or not layer.built:
        return {}
    return {name: tf.convert_to_tensor(getattr(layer, name)) for name in ("moving_mean", "moving_variance")}


def bounds_of(layer: Any, table: dict[str, tuple[float, float]]) -> tuple[float, float] | None:
    """Bounds of the activation that makes the layer's output; the gates inside LSTM and GRU are not its output."""
    if isinstance(layer, keras.layers.RNN) and not isinstance(layer, keras.layers.SimpleRNN):
        return None
    return table.get(getattr(getattr(layer, "activation", None), "__name__", ""))


def unit_axis_of(layer: Any) -> int:
    """The axis of the units in what a layer puts out."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def recording(method: Any, name: str, inside: dict[str, Any]) -> Any:
    """A method that notes what is of interest: what an activation takes, what moments gives."""

    def recorded(x: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(x, *args, **kwargs)
        inside[name] = x if name == "activation" else result
        return result

    return recorded
