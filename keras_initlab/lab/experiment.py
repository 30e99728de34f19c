"""Experiment: a named question about initialization that one command answers again."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.checks import Check
from keras_initlab.lab.figures import Figure
from keras_initlab.lab.options import Option, checked_options, nearest, options_of
from keras_initlab.lab.result import Result, versions
from keras_initlab.statistics.profile import Profile

__all__ = ["EXPERIMENTS", "Experiment", "Run", "experiment", "find"]

Item = TypeVar("Item")


class Run:
    """One run of an experiment while it goes on: what it has measured so far.

    Attributes:
        seed: from which the experiment makes all its random numbers.
    """

    def __init__(self, seed: int, progress: Any = None) -> None:
        self.seed = seed
        self.profiles: dict[str, Profile] = {}
        self.checks: list[Check] = []
        self.figures: list[Figure] = []
        self._progress = progress

    def keep(self, name: str, profile: Profile) -> Profile:
        """Keeps a Profile under a name; returns it."""
        if name in self.profiles:
            raise ValueError(f"A Profile {name!r} is kept already.")
        self.profiles[name] = profile
        return profile

    def expect(self, *checks: Check) -> None:
        """Adds expectations that have met their measurement."""
        self.checks.extend(checks)

    def show(self, *figures: Figure) -> None:
        """Adds figures, in the order in which they are read."""
        self.figures.extend(figures)

    def track(self, items: Iterable[Item], what: str) -> Iterator[Item]:
        """Goes through the parts of the work and shows how far it is."""
        items = list(items)
        if self._progress is None:
            yield from items
            return
        task = self._progress.add_task(what, total=len(items))
        try:
            for item in items:
                yield item
                self._progress.advance(task)
        finally:
            self._progress.remove_task(task)


@dataclass(frozen=True)
class Experiment:
    """What an experiment builds and measures, what is expected, and where that is from.

    Attributes:
        name: on the command line.
        title: one line.
        lesson: a paragraph: what is built, what happens, and why.
        source: where the expectation comes from.
        options: what can be changed.
        measure: does it.
    """

    name: str
    title: str
    lesson: str
    source: str
    options: tuple[Option, ...]
    measure: Callable[..., None]

    def run(self, *, seed: int = 0, progress: Any = None, **options: Any) -> Result:
        """Runs it.

        Args:
            seed: a whole number from 0, from which all random numbers are made.
            progress: a rich Progress to show how far it is; by default none.
            **options: of `options`.

        Raises:
            TypeError: no such option, or one of the wrong kind.
            ValueError: an option out of range.
        """
        values = checked_options(self.name, self.options, options)
        run = Run(Count(low=0, high=2**31 - 1).check("seed", seed), progress)
        start = time.perf_counter()
        self.measure(run, **values)
        seconds = time.perf_counter() - start
        return Result(
            self.name, values, run.seed, run.profiles, tuple(run.checks), tuple(run.figures), seconds, versions()
        )


EXPERIMENTS: dict[str, Experiment] = {}
"""Every experiment by its name, in the order in which they are told."""


def experiment(name: str, source: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as an experiment: its docstring's first line is the title, the rest the lesson.

    The function takes a `Run`, and options with defaults whose annotations say what they may be.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        title, _, lesson = inspect.cleandoc(function.__doc__ or "").partition("\n")
        if not title or not lesson.strip() or name in EXPERIMENTS:
            raise TypeError(f"Experiment {name!r} needs a name of its own, a title and a lesson.")
        paragraphs = [" ".join(part.split()) for part in lesson.strip().split("\n\n")]
        EXPERIMENTS[name] = Experiment(
            name, title.rstrip("."), "\n\n".join(paragraphs), source, options_of(function), function
        )
        return function

    return register


def find(name: Any) -> Experiment:
    """The experiment of this name.

    Raises:
        ValueError: there is none; the error proposes the nearest.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"No experiment {name!r}.{nearest(name, EXPERIMENTS)} There are {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]
