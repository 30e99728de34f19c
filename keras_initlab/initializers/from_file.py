"""A weight taken from a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from keras import ops

from keras_initlab.initializers.arguments import Checksum, FilePath, Text
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register
from keras_initlab.initializers.weight_files import SUFFIXES, read_weight

__all__ = ["FromFile"]


# The example's file lies beside this module, so that it can be drawn anywhere.
@register(
    path=str(Path(__file__).with_suffix(".npz")),
    key="kernel",
    sha256="de8e34d86a6306f0005beea60ff17eee63dc4fef82fb4b74d9fd8513b43f5eac",
)
class FromFile(Initializer):
    """A weight that was computed or trained before, read from a file each time it is asked for.

    ``w = file[key]``, of exactly the shape that is asked for: nothing is reshaped, transposed or broadcast

    The config holds the path, the key and the checksum, and no values. So a model that was given an array can be saved
    and loaded, which Keras cannot do with an array or a lambda in place of an initializer.

    Args:
        path: Path of the file, a string or an ``os.PathLike``. The suffix says how it is read:

            - ``.npz``: the archive of ``numpy.savez``.
            - ``.weights.h5``, ``.keras``: what ``model.save_weights`` and ``model.save`` write; any other ``.h5`` too.
            - ``.safetensors``: needs ``pip install keras_initlab[safetensors]``.

            A relative path counts from the current directory of the process at the time of the call, so that a
            config fits another machine. Whether the file is there is asked then too.
        key: Name of the array in the file. In ``.weights.h5`` and ``.keras`` it is the path of the dataset, such as
            ``"layers/dense/vars/0"`` for the kernel of the first Dense layer and ``.../1`` for its bias; a wrong key
            gives an error that lists what is there.
        sha256: SHA-256 of the whole file, 64 hexadecimal digits, verified at each call before anything is parsed,
            which takes about a second a gigabyte. Default None, which takes whatever file is there; with it, a file
            that was damaged or exchanged cannot become a weight unnoticed. It does not guard against one who rewrites
            the file while it is read.

    Any shape that the file holds, any float dtype. The array has to be of floats; bfloat16 too, but in ``.npz``, where
    NumPy writes no name for it. Integers and float8 are refused: most often they are a quantized weight whose scale is
    stored elsewhere. The values are converted to float32, or to float64 for float64, and cast once. Under
    ``tf.function`` and ``jax.jit`` the file is read at the trace, and the values become constants of the program.

    Nothing is unpickled, unpacked to disk or read from a file to which the named one links. ``.npz``, ``.h5`` and
    ``.safetensors`` files may be larger than the memory; the weights of a ``.keras`` file are held in it for the call.

    Keras calls the initializers of a saved model again when it loads the model, before it puts the saved weights in
    their place. So the file has to be there, and a model from a stranger makes Keras open the path that it names. Give
    the layer another initializer before saving (``layer.kernel_initializer = keras.initializers.Zeros()``), and the
    saved model needs the file no more.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, such as a path with another suffix; when called, if the path is that
            of a folder, the file is damaged, has another checksum, or has no array of floats of this name and shape.
        FileNotFoundError: When called, if there is no file.
        ImportError: When called, if safetensors is needed and not installed.

    Reference:
        NIST (2015), Secure hash standard, FIPS 180-4, for the checksum.

    Example:
        >>> import pathlib, tempfile
        >>> import keras, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "pretrained.npz")
        ...     np.savez(path, kernel=[[0.5, -1.0], [2.0, 0.25]])
        ...     weight = FromFile(path, "kernel")((2, 2))
        >>> keras.ops.convert_to_numpy(weight).tolist()
        [[0.5, -1.0], [2.0, 0.25]]
    """

    arguments: ClassVar = {
        "path": FilePath(SUFFIXES),
        "key": Text(mend="Pass the name of an array in the file."),
        "sha256": Checksum(),
    }
    path: str
    key: str
    sha256: str | None

    def __init__(self, path: str | os.PathLike[str], key: str, sha256: str | None = None) -> None:
        super().__init__(path=path, key=key, sha256=sha256)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        array = read_weight(self.path, self.key, self.sha256)
        if array.shape != shape:
            raise ValueError(
                f"FromFile(path={self.path!r}, key={self.key!r}) holds a weight of shape {array.shape} only. "
                f"Received: shape={shape}. Name another key, or write the file again in the shape of the weight."
            )
        return ops.convert_to_tensor(array.astype(dtype), dtype=dtype)
