"""What there is to report in folders: runs of experiments, rows of sweeps, logs of LayerStatistics."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_initlab.lab.experiment import EXPERIMENTS
from keras_initlab.lab.result import FILE_NAME as RESULT
from keras_initlab.lab.result import Result
from keras_initlab.statistics.lines import from_line
from keras_initlab.statistics.profile import Profile
from keras_initlab.statistics.schema import FILE_NAME as PROFILES

__all__ = ["Contents", "Row", "collect"]

Row = dict[str, Any]
ROWS, TABLE = "rows.jsonl", "rows.parquet"
_OF_A_RUN = re.compile(r"(.+)-[0-9a-f]{16}")


@dataclass
class Contents:
    """What a report tells of.

    Attributes:
        results: runs of experiments, in the order in which experiments are told.
        sweeps: rows by the folder that they lie in.
        logs: the first and the last Profile of a training by its folder.
        problems: what could not be read or run, and why.
    """

    results: list[Result] = field(default_factory=list)
    sweeps: dict[str, list[Row]] = field(default_factory=dict)
    logs: dict[str, tuple[Profile, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.results or self.sweeps or self.logs)

    def sort(self) -> None:
        """Puts runs into the order in which experiments are told."""
        places = {name: i for i, name in enumerate(EXPERIMENTS)}
        self.results.sort(key=lambda r: (places.get(r.experiment, len(places)), r.experiment, r.seed, r.key))


def collect(runs: str | Path | Result | Iterable[str | Path | Result]) -> Contents:
    """Everything in folders and below them; what cannot be read is named among the problems.

    Args:
        runs: a folder, a Result, or several of them.

    Raises:
        FileNotFoundError: no such folder.
        NotADirectoryError: a file.
        TypeError: something else.
    """
    several = [runs] if isinstance(runs, (str, Path, Result)) else list(runs)
    found = Contents()
    for item in several:
        if isinstance(item, Result):
            found.results.append(item)
        elif isinstance(item, (str, Path)):
            _walk(Path(item), found)
        else:
            raise TypeError(
                "runs must be a folder, a Result, or several of them. "
                f"Received: {item!r} of type {type(item).__name__}."
            )
    found.sort()
    return found


def _walk(top: Path, found: Contents) -> None:
    if not top.exists():
        raise FileNotFoundError(f"There is no folder {str(top)!r}. Give the folder that `initlab run --out` wrote.")
    if not top.is_dir():
        raise NotADirectoryError(f"{str(top)!r} is a file. Give the folder that runs were saved in.")
    for folder, below, files in os.walk(top, onerror=lambda error: found.problems.append(str(error))):
        below[:] = sorted(name for name in below if not name.startswith("."))
        try:
            _read(Path(folder), set(files), found)
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            found.problems.append(f"{folder}: {error}")


def _read(folder: Path, files: set[str], found: Contents) -> None:
    run = _OF_A_RUN.fullmatch(folder.name)
    if RESULT in files:
        found.results.append(Result.load(folder))
    elif PROFILES in files and run and run[1] in EXPERIMENTS:
        raise ValueError(f"the run was interrupted: there is no {RESULT}. Run it again.")
    elif PROFILES in files:
        found.logs[str(folder)] = _ends(folder / PROFILES)
    if ROWS in files:
        rows = found.sweeps[str(folder)] = []
        _read_rows(folder / ROWS, rows)
    elif TABLE in files:
        found.sweeps[str(folder)] = _read_table(folder / TABLE)


def _ends(file: Path) -> tuple[Profile, ...]:
    """The first Profile of a log and the last whole one; a training that was killed may have cut off its last line."""
    with file.open("rb") as lines:
        first, last = next(lines, b""), deque(lines, maxlen=2)
    profiles = [profile for profile in map(from_line, (first, *last)) if profile is not None]
    if not profiles:
        raise ValueError(f"there is no Profile in {PROFILES}. Was it written by LayerStatistics?")
    return tuple(profiles[:1] if len(profiles) == 1 else (profiles[0], profiles[-1]))


def _read_rows(file: Path, rows: list[Row]) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif line.endswith(b"\n"):  # the last one of a sweep that was killed may be cut off
            raise ValueError(f"line {number} of {ROWS} is no row of a sweep. Rows after it are left out; remove it.")


def _read_table(file: Path) -> list[Row]:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(f"{TABLE} needs pyarrow: pip install 'keras_initlab[parquet]'.") from error
    rows: list[Row] = pq.read_table(file).to_pylist()
    return rows
