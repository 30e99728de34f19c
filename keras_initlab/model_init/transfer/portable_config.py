"""Configurations without this package: each of its initializers replaced by one of Keras's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.identity import Identity
from keras_initlab.initializers.normal import RandomNormal, TruncatedNormal
from keras_initlab.initializers.orthogonal import Orthogonal
from keras_initlab.initializers.registry import PACKAGE
from keras_initlab.initializers.seeds import PortableSeed
from keras_initlab.initializers.uniform import RandomUniform
from keras_initlab.initializers.variance_scaling import VarianceScaling, gain_of

__all__ = ["keras_equivalent", "leftovers", "without_package"]

# Where this package's law has no equal, a law that Keras can draw in any shape and dtype, for the argument's purpose.
_BY_PURPOSE = {"bias": "Zeros", "beta": "Zeros", "mean": "Zeros", "gamma": "Ones", "variance": "Ones", "scale": "Ones"}


def without_package(config: Any, key: str = "", dtype: str = "") -> Any:
    """Copy a serialized object, with Keras's own initializers and plain seeds in place of this package's.

    Args:
        config: Dictionaries, lists and plain values, as ``keras.saving.serialize_keras_object`` makes them.
        key: The argument that this is the value of.
        dtype: Dtype of the weights of the layer around it.
    """
    if isinstance(config, (list, tuple)):
        return type(config)(without_package(value, key, dtype) for value in config)
    if not isinstance(config, dict):
        return config
    if str(config.get("registered_name")).startswith(f"{PACKAGE}>"):
        made = keras.saving.deserialize_keras_object(config)
        if isinstance(made, Initializer):
            equal = keras_equivalent(made)
            # Keras factorises in the weight's own dtype, which must not be a narrow one.
            if equal is None or (isinstance(made, Orthogonal) and dtype not in ("float32", "float64")):
                equal = _by_purpose(key)
            return keras.saving.serialize_keras_object(equal)
        if isinstance(made, PortableSeed):
            return _plain(made)
        return config
    dtype = _variable_dtype(config.get("dtype")) or dtype
    return {name: without_package(value, name, dtype) for name, value in config.items()}


def keras_equivalent(initializer: Initializer) -> Any:
    """Keras's initializer of the same law, or None.

    Args:
        initializer: One of this package's.

    Example:
        >>> from keras_initlab import TruncatedNormal
        >>> theirs = keras_equivalent(TruncatedNormal(stddev=0.5))
        >>> type(theirs).__module__.startswith("keras."), theirs.stddev
        (True, 0.5)
    """
    seed = _plain(getattr(initializer, "seed", None))
    own = keras.initializers
    axes = [getattr(initializer, f"{kind}_axes", None) for kind in ("input", "output", "batch")]
    if any(axis is not None for axis in axes):
        return None
    if isinstance(initializer, VarianceScaling):
        return _variance_scaling(initializer, seed)
    if isinstance(initializer, RandomNormal):
        return own.RandomNormal(initializer.mean, initializer.stddev, seed)
    if isinstance(initializer, RandomUniform):
        return own.RandomUniform(initializer.minval, initializer.maxval, seed)
    if isinstance(initializer, TruncatedNormal) and initializer.law[1:] == (-2.0, 2.0):
        return own.TruncatedNormal(initializer.mean, initializer.law[0], seed)
    if isinstance(initializer, Orthogonal) and initializer.method != "gaussian" and not initializer.variance_preserving:
        return own.Orthogonal(initializer.gain, seed)
    if isinstance(initializer, Identity):
        return own.Identity(initializer.gain)
    return None


def _variance_scaling(initializer: VarianceScaling, seed: Any) -> Any:
    if type(initializer) is not VarianceScaling:
        return getattr(keras.initializers, type(initializer).__name__)(seed)
    scale = initializer.scale * gain_of(initializer) ** 2  # Keras's law has no activation: its gain goes into the scale
    if scale == 0:
        return keras.initializers.Zeros()
    if initializer.mode == "fan_geo_avg":
        return None
    return keras.initializers.VarianceScaling(scale, initializer.mode, initializer.distribution, seed)


def _by_purpose(key: str) -> Any:
    name = next((law for word, law in _BY_PURPOSE.items() if word in key), "GlorotUniform")
    return getattr(keras.initializers, name)()


def _plain(seed: Any) -> Any:
    # Keras takes seeds of 31 bits on every backend.
    return seed.seed % 2**31 if isinstance(seed, PortableSeed) else seed


def _variable_dtype(config: Any) -> str:
    """The dtype of a layer's weights by the entry of its config."""
    if config is None:
        return ""
    try:
        return str(keras.dtype_policies.get(config).variable_dtype)
    except (ValueError, TypeError):
        return ""


def leftovers(config: Any, where: str = "") -> Iterator[str]:
    """Where a serialized object still names this package, as a path of keys with the text that is found there."""
    if isinstance(config, dict):
        named = config.get("config", {}).get("name") if isinstance(config.get("config"), dict) else None
        for key, value in config.items():
            yield from leftovers(value, f"{where}/{named or key}" if key == "config" else f"{where}/{key}")
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from leftovers(value, where)
    elif isinstance(config, str) and (config == PACKAGE or config.startswith((f"{PACKAGE}.", f"{PACKAGE}>"))):
        yield f"{where.removeprefix('/')}: {config!r}"
