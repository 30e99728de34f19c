"""Weights in files: one named array out of each format, as floats, with the file's checksum verified before."""

from __future__ import annotations

import difflib
import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["SUFFIXES", "read_weight"]

_CHUNK = 1 << 20  # bytes hashed at a time


def read_weight(path: str, key: str, sha256: str | None = None) -> NDArray[Any]:
    """Read one array of floats.

    The file is opened once: the bytes that are hashed are those that are parsed, except for ``.safetensors``, whose
    library opens the path again.

    Args:
        path: The file; its suffix, one of ``SUFFIXES``, names the format.
        key: The array's name in it.
        sha256: Checksum that the whole file must have, 64 lowercase hexadecimal digits, or None for any.

    Returns:
        The array as stored, of a float dtype.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The file is a ``.safetensors`` one, and safetensors is not installed.
        ValueError: The file is a folder, is damaged, has another checksum, or has no such array of floats.
    """
    with _opened(path) as file:
        if sha256 is not None:
            _verify(file, path, sha256)
        read = _READERS[os.path.splitext(path)[1].lower()]
        try:
            names, array = read(file, key)
        except ImportError:
            raise
        # Four libraries read here, and a damaged file makes each of them raise whatever the damage leads to.
        except Exception as error:
            raise ValueError(
                f"Argument `path` must name a whole file of the format that its suffix says, with arrays of floats and "
                f"not of Python objects, which are never unpickled. Received: path={path!r}, where reading key {key!r} "
                f"failed with {type(error).__name__}: {error}. Write the file again."
            ) from error
    if array is None:
        raise _no_such_key(path, key, names)
    if not array.dtype.name.startswith(("float", "bfloat")):
        raise ValueError(
            f"Argument `key` must name an array of floats. Received: key={key!r}, which is of dtype {array.dtype} in "
            f"{path!r}. Write the file again with the array cast to a float dtype."
        )
    return array


def _opened(path: str) -> BinaryIO:
    """Open the file, or say what is there in its place."""
    if os.path.isdir(path):
        raise ValueError(
            f"Argument `path` must name a file. Received: path={path!r}, which is a folder. Name a file in it."
        )
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Argument `path` must name a file that is there when the weight is made. Received: path={path!r}, which "
            f"leads to {os.path.abspath(path)!r}, where there is none. Put it there, also to load a saved model: Keras "
            "calls the initializers before it reads the saved weights."
        ) from None


def _verify(file: BinaryIO, path: str, expected: str) -> None:
    """Hash the whole file, piece by piece, and put it back to its beginning."""
    digest = hashlib.sha256()
    # A loop that tf.function can convert, as it does where the initializer is called in one.
    for chunk in iter(lambda: file.read(_CHUNK), b""):
        digest.update(chunk)
    file.seek(0)
    if digest.hexdigest() != expected:
        raise ValueError(
            f"Argument `sha256` must be that of the file {path!r}, which is {digest.hexdigest()!r}. Received: "
            f"sha256={expected!r}. The file is not the one that was meant: get that one, or pass the new checksum."
        )


def _no_such_key(path: str, key: str, names: list[str]) -> ValueError:
    """Word the error: what is there, and what is near."""
    shown = ", ".join(repr(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
    near = " or ".join(repr(name) for name in difflib.get_close_matches(key, names, n=3))
    return ValueError(
        f"Argument `key` must name one of the {len(names)} arrays in {path!r}: {shown}. Received: key={key!r}."
        + (f" Did you mean {near}?" if near else "")
    )


def _from_npz(file: BinaryIO, key: str) -> tuple[list[str], NDArray[Any] | None]:
    # Not np.load, which takes a file of another format for a pickle and says so.
    with np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
        return arrays.files, np.asarray(arrays[key]) if key in arrays.files else None


def _from_h5(file: BinaryIO, key: str) -> tuple[list[str], NDArray[Any] | None]:
    import h5py  # Keras loads it only where it saves

    names: list[str] = []
    with h5py.File(file, "r") as contents:
        # This visit follows no link, neither within the file nor to another.
        contents.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        if key not in names:
            return names, None
        dataset = contents[key]
        if dataset.external or dataset.is_virtual:
            raise ValueError("the values lie in another file")
        array = np.asarray(dataset[()])
        # HDF5 has no bfloat16: Keras writes two raw bytes, and the name of the dtype beside them.
        return names, array.view("bfloat16") if dataset.attrs.get("dtype") == "bfloat16" else array


def _from_keras(file: BinaryIO, key: str) -> tuple[list[str], NDArray[Any] | None]:
    with zipfile.ZipFile(file) as archive:
        return _from_h5(io.BytesIO(archive.read("model.weights.h5")), key)


def _from_safetensors(file: BinaryIO, key: str) -> tuple[list[str], NDArray[Any] | None]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError(
            f"FromFile needs the library safetensors to read {file.name!r}. "
            "Install it with `pip install keras_initlab[safetensors]`."
        ) from error
    with safe_open(file.name, framework="numpy") as arrays:
        names = sorted(arrays.keys())
        if key not in names:
            return names, None
        dtype = arrays.get_slice(key).get_dtype()
        if dtype not in ("F64", "F32", "F16", "BF16"):
            raise ValueError(f"its dtype is {dtype}, where F64, F32, F16 or BF16 can be read")
        return names, arrays.get_tensor(key)


_READERS: dict[str, Callable[[BinaryIO, str], tuple[list[str], NDArray[Any] | None]]] = {
    ".npz": _from_npz,
    ".h5": _from_h5,
    ".keras": _from_keras,
    ".safetensors": _from_safetensors,
}
SUFFIXES = tuple(_READERS)
