"""Weights in files: named arrays out of each format, one of them as floats or all, and the checksum verified before."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from numpy.typing import NDArray

from keras_initlab.initializers.weight_formats import READERS, Contents, UnreadableDtype

__all__ = ["SUFFIXES", "StoredWeights", "read_weight", "read_weights"]

SUFFIXES = tuple(READERS)
_CHUNK = 1 << 20  # bytes hashed at a time

T = TypeVar("T")


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

    def one(contents: Contents) -> tuple[list[str], NDArray[Any] | None]:
        return contents.names, contents.read(key) if key in contents.names else None

    absent = "Put it there, also to load a saved model: Keras calls the initializers before it reads the saved weights."
    names, array = _parsed(path, one, f"reading key {key!r}", absent, sha256)
    if array is None:
        raise _no_such_key(path, key, names)
    if not array.dtype.name.startswith(("float", "bfloat")):
        raise ValueError(
            f"Argument `key` must name an array of floats. Received: key={key!r}, which is of dtype {array.dtype} in "
            f"{path!r}. Write the file again with the array cast to a float dtype."
        )
    return array


@dataclass(frozen=True)
class StoredWeights:
    """All arrays of a file.

    Attributes:
        arrays: Each by its name in the file: of any dtype, but out of ``.safetensors`` of floats only.
        layers: What Keras wrote beside the weights of ``.weights.h5`` and ``.keras``: the name of the layer that is
            saved at a path such as ``layers/dense_1``.
    """

    arrays: dict[str, NDArray[Any]]
    layers: dict[str, str]


def read_weights(path: str) -> StoredWeights:
    """Read all arrays of a file into memory, those of an optimizer left out.

    Args:
        path: The file; its suffix, one of ``SUFFIXES``, names the format.

    Returns:
        The arrays as stored, and the names of the layers they belong to.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The file is a ``.safetensors`` one, and safetensors is not installed.
        ValueError: The file is a folder or is damaged.
    """

    def everything(contents: Contents) -> StoredWeights:
        arrays = {}
        for name in contents.names:
            if not name.startswith("optimizer/"):
                with suppress(UnreadableDtype):
                    arrays[name] = contents.read(name)
        return StoredWeights(arrays, contents.layers)

    return _parsed(path, everything, "reading", "Write the path as it counts from the current directory, or in full.")


def _parsed(path: str, use: Callable[[Contents], T], what: str, absent: str, sha256: str | None = None) -> T:
    """Open the file once, verify and use it, and put any damage into words."""
    with _opened(path, absent) as file:
        if sha256 is not None:
            _verify(file, path, sha256)
        try:
            with READERS[os.path.splitext(path)[1].lower()](file) as contents:
                return use(contents)
        except ImportError:
            raise
        # Four libraries read here, and a damaged file makes each of them raise whatever the damage leads to.
        except Exception as error:
            raise ValueError(
                f"Argument `path` must name a whole file of the format that its suffix says, with arrays of floats and "
                f"not of Python objects, which are never unpickled. Received: path={path!r}, where {what} "
                f"failed with {type(error).__name__}: {error}. Write the file again."
            ) from error


def _opened(path: str, absent: str) -> BinaryIO:
    """Open the file, or say what is there in its place."""
    if os.path.isdir(path):
        raise ValueError(
            f"Argument `path` must name a file. Received: path={path!r}, which is a folder. Name a file in it."
        )
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Argument `path` must name a file that is there when it is read. Received: path={path!r}, which "
            f"leads to {os.path.abspath(path)!r}, where there is none. {absent}"
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
