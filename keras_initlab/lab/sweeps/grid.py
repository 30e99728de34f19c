"""The grid of a sweep: which configurations it asks for, checked as a whole before anything runs."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from keras_initlab.initializers.arguments import Above, Count, Flag
from keras_initlab.lab.options import Batch, Dataset, Option, Steps, Width, nearest
from keras_initlab.lab.sweeps.names import ActivationName, InitializerName, OptimizerName

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

__all__ = ["AXES", "Configuration", "configurations"]

Configuration = dict[str, Any]
"""One run of a sweep: a value for each of `AXES`, as JSON can hold it."""


def _option(name: str, default: Any, annotated: Any) -> Option:
    _, limit, text = get_args(annotated)
    return Option(name, default, limit, text)


AXES: tuple[Option, ...] = (
    Option("initializer", "GlorotUniform", InitializerName(), "law of the kernels"),
    Option("activation", "relu", ActivationName(), "of the hidden layers"),
    Option("depth", 10, Count(1, 1000), "hidden layers"),
    _option("width", 128, Width),
    Option("batchnorm", False, Flag(), "whether BatchNormalization stands before each activation"),
    Option("optimizer", "SGD", OptimizerName(), "that trains"),
    Option("learning_rate", None, Above(0.0, 1e3), "of the optimizer; left out: the optimizer's own"),
    _option("dataset", "digits", Dataset),
    _option("steps", 200, Steps),
    _option("batch", 64, Batch),
    Option("seed", 0, Count(0, 2**31 - 1), "of the kernels and the order of the examples"),
)
"""What a grid may name, what it is where the grid says nothing, and what it may be; in the order of the rows."""


def configurations(grid: Mapping[str, Any] | str | os.PathLike[str]) -> list[Configuration]:
    """Every combination that a grid asks for, the seeds of one setting one after the other.

    Args:
        grid: a value or a list of values for each of the names in `AXES`; names that are left out keep their default.
            Or the path of a TOML file with such names.

    Returns:
        A dictionary for each run, with the names of `AXES`; values are in their normal form (`"he_normal"` becomes
        `"HeNormal"`).

    Raises:
        TypeError: a value of the wrong kind.
        ValueError: a name that there is not, a value out of range, an empty list, or a value that is there twice.
        OSError: the file cannot be read.

    Example:
        >>> from keras_initlab import lab
        >>> runs = lab.sweeps.configurations({"initializer": ["HeNormal", "orthogonal"], "depth": 3, "seed": range(2)})
        >>> [(run["initializer"], run["depth"], run["seed"]) for run in runs]
        [('HeNormal', 3, 0), ('HeNormal', 3, 1), ('Orthogonal', 3, 0), ('Orthogonal', 3, 1)]
    """
    if isinstance(grid, (str, os.PathLike)):
        grid = _read(Path(grid))
    if not isinstance(grid, Mapping):
        raise TypeError(
            f"grid must be a mapping of names to values or lists of values, or the path of a TOML file. Received: "
            f"grid={grid!r}. Give a dictionary such as {{'initializer': ['HeNormal', 'GlorotNormal'], 'seed': [0, 1]}}."
        )
    names = [axis.name for axis in AXES]
    for name in grid:
        if name not in names:
            raise ValueError(f"A grid has no key {name!r}.{nearest(name, names)} It may have {', '.join(names)}.")
    values = [_values(axis, grid[axis.name]) if axis.name in grid else [axis.default] for axis in AXES]
    found = [dict(zip(names, combination, strict=True)) for combination in itertools.product(*values)]
    rates = {name: OptimizerName().default_rate(name) for name in values[names.index("optimizer")]}
    for configuration in found:
        if configuration["learning_rate"] is None:
            configuration["learning_rate"] = rates[configuration["optimizer"]]
    return found


def _values(axis: Option, given: Any) -> list[Any]:
    """The checked values of one axis."""
    several = isinstance(given, (list, tuple, range, np.ndarray))
    values = [axis.limit.check(axis.name, value) for value in (given if several else [given])]
    if not values:
        raise ValueError(f"The grid's {axis.name!r} is an empty list, which leaves nothing to run. Leave it out.")
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"The grid's {axis.name!r} has {value!r} twice. Name it once; use `seed` to repeat runs.")
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise type(error)(f"grid={str(path)!r} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # of TOML, or of UTF-8
        raise ValueError(f"grid={str(path)!r} is no TOML file: {error}. Write lines like depth = [5, 10].") from error
