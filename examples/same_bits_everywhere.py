"""A portable seed gives the same bits on every backend: run this under KERAS_BACKEND=tensorflow, jax and torch."""

from __future__ import annotations

import hashlib

import keras

import keras_initlab as kil


def main() -> dict[str, str]:
    """Return a digest of the weights by initializer."""
    digests = {}
    print(f"on {keras.backend.backend()}")
    for initializer in (
        kil.HeNormal(seed=kil.PortableSeed(7)),
        kil.GlorotUniform(seed=kil.PortableSeed(7)),
        kil.RandomNormal(seed=kil.PortableSeed(7)),
    ):
        weights = keras.ops.convert_to_numpy(initializer((512, 256)))
        digests[type(initializer).__name__] = hashlib.sha256(weights.tobytes()).hexdigest()[:16]
        print(f"{initializer!r:45} {digests[type(initializer).__name__]}")
    return digests


if __name__ == "__main__":
    main()
