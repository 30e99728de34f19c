"""The formats in which weights are stored, each opened as names and a way to read one array."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["READERS", "Contents", "UnreadableDtype"]


class Contents(NamedTuple):
    """An open file: the names of its arrays, how to read one, and the names of layers by their path."""

    names: list[str]
    read: Callable[[str], NDArray[Any]]
    layers: dict[str, str]


class UnreadableDtype(ValueError):
    """An array of a dtype that is not read from this format."""


@contextmanager
def _from_npz(file: BinaryIO) -> Iterator[Contents]:
    # Not np.load, which takes a file of another format for a pickle and says so.
    with np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
        yield Contents(arrays.files, lambda key: np.asarray(arrays[key]), {})


@contextmanager
def _from_h5(file: BinaryIO) -> Iterator[Contents]:
    import h5py  # Keras loads it only where it saves

    names: list[str] = []
    layers: dict[str, str] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)
        elif name.endswith("/vars") and "name" in item.attrs:
            layers[name.removesuffix("/vars")] = str(item.attrs["name"])

    with h5py.File(file, "r") as contents:

        def read(key: str) -> NDArray[Any]:
            dataset = contents[key]
            if dataset.external or dataset.is_virtual:
                raise ValueError("the values lie in another file")
            array = np.asarray(dataset[()])
            # HDF5 has no bfloat16: Keras writes two raw bytes, and the name of the dtype beside them.
            return array.view("bfloat16") if dataset.attrs.get("dtype") == "bfloat16" else array

        # This visit follows no link, neither within the file nor to another.
        contents.visititems(visit)
        yield Contents(names, read, layers)


@contextmanager
def _from_keras(file: BinaryIO) -> Iterator[Contents]:
    with (
        zipfile.ZipFile(file) as archive,
        _from_h5(io.BytesIO(archive.read("model.weights.h5"))) as contents,
    ):
        yield contents


@contextmanager
def _from_safetensors(file: BinaryIO) -> Iterator[Contents]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError(
            f"The library safetensors is needed to read {file.name!r}. "
            "Install it with `pip install keras_initlab[safetensors]`."
        ) from error
    with safe_open(file.name, framework="numpy") as arrays:

        def read(key: str) -> NDArray[Any]:
            dtype = arrays.get_slice(key).get_dtype()
            if dtype not in ("F64", "F32", "F16", "BF16"):
                raise UnreadableDtype(f"its dtype is {dtype}, where F64, F32, F16 or BF16 can be read")
            return np.asarray(arrays.get_tensor(key))

        yield Contents(sorted(arrays.keys()), read, {})


READERS: dict[str, Callable[[BinaryIO], AbstractContextManager[Contents]]] = {
    ".npz": _from_npz,
    ".h5": _from_h5,
    ".keras": _from_keras,
    ".safetensors": _from_safetensors,
}
