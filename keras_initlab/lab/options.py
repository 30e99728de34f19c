"""What an experiment can be told: read off the signature of its function, checked before anything runs."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from keras_initlab.initializers.arguments import Argument, Choice, Count

__all__ = ["Batch", "Dataset", "Depth", "Option", "Steps", "Width", "checked_options", "nearest", "options_of"]


@dataclass(frozen=True)
class Option:
    """One option of an experiment: its name, what it is when nobody says, what it may be, and what it means."""

    name: str
    default: Any
    limit: Argument
    help: str


# What several experiments take. The bounds keep a slip of the finger from taking all memory or all night.
Width = Annotated[int, Count(2, 8192), "units of each layer"]
Depth = Annotated[int, Count(2, 1000), "layers"]
Batch = Annotated[int, Count(2, 100_000), "examples in a batch"]
Steps = Annotated[int, Count(1, 1_000_000), "training steps"]
Dataset = Annotated[str, Choice(("digits", "mnist", "fashion_mnist")), "images to learn"]


def options_of(function: Callable[..., None]) -> tuple[Option, ...]:
    """The options of an experiment's function, in the order of its arguments; the first argument is the `Run`.

    Raises:
        TypeError: an argument without a default, or whose annotation does not say what it may be and what it means.
    """
    hints = get_type_hints(function, include_extras=True)
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        hint = hints.get(parameter.name)
        parts = get_args(hint) if get_origin(hint) is Annotated else ()
        if len(parts) != 3 or parameter.default is inspect.Parameter.empty:
            raise TypeError(
                f"{function.__name__}: {parameter.name} must be Annotated[type, limit, help] with a default."
            )
        found.append(Option(parameter.name, parts[1].check(parameter.name, parameter.default), parts[1], parts[2]))
    return tuple(found)


def checked_options(experiment: str, options: Iterable[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an experiment in their normal form, with the defaults of those that were not given.

    Raises:
        TypeError: an option of that name does not exist, or its value is of the wrong kind.
        ValueError: a value is out of range.
    """
    options = tuple(options)
    names = [option.name for option in options]
    for name in given:
        if name not in names:
            takes = f"It takes {', '.join(names)}." if names else "It takes none."
            raise TypeError(f"Experiment {experiment!r} has no option {name!r}.{nearest(name, names)} {takes}")
    return {o.name: o.limit.check(o.name, given[o.name]) if o.name in given else o.default for o in options}


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence that proposes the nearest right name, with a space before it; empty where none is near."""
    near = difflib.get_close_matches(str(name).lower(), list(names), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
