"""`initlab inspect`: what is happening inside a saved model, on one batch."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import click
import numpy as np

from keras_initlab.commands.console import as_json, checked, print_json, seed, show
from keras_initlab.initializers.arguments import FilePath

__all__ = ["inspect"]

_BATCH = 256
_FILE = click.Path(exists=True, dir_okay=False)
_FOREIGN = re.compile(r"(?:Could not locate (?:class|function)|Unknown \w+:) '(\w+)'")
# Where in TensorFlow's machinery it happened, which tells the reader nothing.
_MACHINERY = re.compile(r"\{\{.*?\}\}|\[Op:.*?\]( name:)?")


def _inspect(model: str, data: str | None, seed: int | None, as_json: bool | None) -> None:
    """Show every layer of a saved model on one batch: spread, dead and saturated units, gradients.

    MODEL is a .keras or .h5 file. With targets in the data, and a model that was compiled, gradients are measured too.
    """
    import tensorflow as tf

    import keras_initlab as kil

    given = None if data is None else _read(data)
    network = _load(model, compile=given is not None and given[1] is not None)
    x, y = _noise(network, seed or 0) if given is None else given
    x = _fitting(network, x)
    if given is not None and len(x) > _BATCH:
        click.echo(f"Measured on the first {_BATCH} of {len(x)} examples.", err=True)
        x, y = x[:_BATCH], None if y is None else y[:_BATCH]
    try:
        profile = kil.observe(network, x, y)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ValueError(f"The data does not fit the model: {_brief(error)}") from error
    if as_json:
        print_json([{k: _finite(v) for k, v in row.items()} for row in profile.rows])
    else:
        show(profile)


def _load(file: str, *, compile: bool) -> Any:
    import keras

    load = f"keras.models.load_model({file!r}, {{}})"
    try:
        with warnings.catch_warnings():
            # Nothing is trained, so that what an optimizer has forgotten does not matter.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.models.load_model(file, compile=compile)
    except Exception as error:  # files of all kinds make Keras raise errors of all kinds
        said = " ".join(_chain(error))
        if "safe_mode" in said:
            why = "it holds Python code, which is not run. If you trust it, use Python: "
            why += f"observe({load.format('safe_mode=False')}, x)."
        elif missing := _FOREIGN.search(said):
            why = f"Keras does not know {missing[1]!r}. Import what defines it and use Python: "
            why += f"observe({load.format(f'custom_objects={{{missing[1]!r}: {missing[1]}}}')}, x)."
        else:
            why = _brief(error)
        raise ValueError(f"{file!r} cannot be loaded as a Keras model: {why}") from error


def _chain(error: BaseException | None) -> Iterator[str]:
    """What an error says, and what those say that led to it."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def _read(file: str) -> tuple[Any, Any]:
    """Inputs, and targets or None."""
    try:
        content = np.load(file, allow_pickle=False)
        arrays = {"x": content}
        if isinstance(content, np.lib.npyio.NpzFile):
            with content:
                arrays = dict(content)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{file!r} cannot be read as numbers of NumPy (.npy or .npz): {_brief(error)}") from error
    if "x" not in arrays or set(arrays) - {"x", "y"}:
        held = ", ".join(arrays) or "nothing"
        raise ValueError(f"{file!r} must hold an array `x`, and `y` if there are targets. It holds {held}.")
    if not arrays["x"].ndim or len({len(np.atleast_1d(array)) for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"The arrays in {file!r} must have one length, the number of examples. They are {shapes}.")
    return arrays["x"], arrays.get("y")


def _noise(model: Any, seed: int) -> tuple[Any, None]:
    """Inputs of independent N(0, 1), where such a thing is an input."""
    import keras

    inputs = getattr(model, "inputs", None) or []
    shapes = [tuple(tensor.shape)[1:] for tensor in inputs]
    words = any(isinstance(layer, keras.layers.Embedding) for layer in model._flatten_layers())
    if not shapes or words or any(None in shape or not shape for shape in shapes):
        raise ValueError(
            "Noise is no input for this model: it takes whole numbers, or its input has no fixed shape. Give --data."
        )
    click.echo(f"No --data: measured on {_BATCH} examples of noise N(0, 1). Real data may look different.", err=True)
    generator = np.random.default_rng(seed)
    x = [generator.standard_normal((_BATCH, *shape), np.float32) for shape in shapes]
    return (x[0] if len(x) == 1 else x), None


def _fitting(model: Any, x: Any) -> Any:
    """The inputs, in the model's own dtype where they are whole numbers or doubles."""
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or isinstance(x, list):
        return x
    wanted = tuple(inputs[0].shape)[1:]
    got = x.shape[1:]
    if len(wanted) != len(got) or any(w not in (None, g) for w, g in zip(wanted, got, strict=True)):
        said = ", ".join("any" if size is None else str(size) for size in wanted)
        raise ValueError(f"`x` must have shape (examples, {said}), as the model takes. It has shape {x.shape}.")
    return x.astype(inputs[0].dtype)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _brief(error: Exception) -> str:
    text = " ".join(_MACHINERY.sub("", str(error).partition("config={")[0]).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} …"


inspect = click.Command(
    "inspect",
    callback=_inspect,
    short_help="What happens in every layer of a saved model.",
    params=[
        click.Argument(["model"], type=_FILE, callback=checked(FilePath((".keras", ".h5", ".hdf5")))),
        click.Option(
            ["--data"],
            type=_FILE,
            callback=checked(FilePath((".npy", ".npz"))),
            help="A .npy file of inputs, or a .npz file with `x` and, for gradients, `y`. [default: noise N(0, 1)]",
        ),
        seed(),
        as_json(),
    ],
    help=_inspect.__doc__,
)
