"""LayerStatistics writes while a model trains; TensorBoard shows it, and Profile.read reads it back.

`python examples/tensorboard_statistics.py [log_dir]`; without a folder one is made in the system's temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence

import keras

import keras_initlab as kil


def main(arguments: Sequence[str] = ()) -> list[kil.Profile]:
    """Return the Profiles as read back from the folder."""
    log_dir = arguments[0] if arguments else tempfile.mkdtemp(prefix="statistics_")
    hidden = [keras.layers.Dense(32, "tanh", kernel_initializer=kil.LecunNormal(seed=i), name=f"h{i}") for i in (1, 2)]
    model = keras.Sequential([keras.Input((8,)), *hidden, keras.layers.Dense(1, name="head")])
    model.compile("adam", "mse")

    x = keras.random.normal((640, 8), seed=0)
    y = keras.ops.sum(x**2, axis=1, keepdims=True)
    model.fit(x, y, epochs=3, verbose=0, callbacks=[kil.callbacks.LayerStatistics(log_dir, update_freq=20)])

    profiles = kil.Profile.read(log_dir)
    print(f"{len(profiles)} profiles, of steps {[profile.step for profile in profiles]}; the last:\n\n{profiles[-1]}\n")
    print(f"To watch how they change:  tensorboard --logdir {log_dir}")
    return profiles


if __name__ == "__main__":
    main(sys.argv[1:])
