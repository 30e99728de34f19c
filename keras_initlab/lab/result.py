"""Result: what one run of an experiment measured, whether it was expected, and how to show it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from keras_initlab.lab.checks import Check
from keras_initlab.lab.figures import Figure, figure_from_dict, figure_to_dict
from keras_initlab.statistics.lines import from_line, to_line
from keras_initlab.statistics.profile import Profile
from keras_initlab.terminal import as_html, as_text

__all__ = ["Result", "key_of", "versions", "write_whole"]

FILE_NAME, PROFILES = "result.json", "profiles.jsonl"


@dataclass(frozen=True)
class Result(Mapping[str, Profile]):
    """A run of an experiment: a mapping of its Profiles by name, with checks and figures.

    Attributes:
        experiment: name of the experiment.
        options: every option as it was run, defaults among them.
        seed: from which all random numbers of the run were made.
        profiles: the Profiles by name.
        checks: what was expected, and what was measured.
        figures: lines, heat maps, histograms and tables.
        seconds: how long it took.
        versions: of Python and the libraries it ran on.

    Example:
        >>> from keras_initlab import lab
        >>> result = lab.run("nine-layers", verbose=0)
        >>> list(result), result.as_expected
        (['above', 'identity', 'below'], True)
        >>> result["above"].column("l2", "activation_gradient")[0][0]
        'network/layer_1'
    """

    experiment: str
    options: Mapping[str, Any]
    seed: int
    profiles: Mapping[str, Profile]
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...]
    seconds: float
    versions: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Profile:
        return self.profiles[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.profiles)

    def __len__(self) -> int:
        return len(self.profiles)

    @property
    def as_expected(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def key(self) -> str:
        """Tells runs of one experiment with other options or another seed apart."""
        return key_of({"experiment": self.experiment, "options": dict(self.options), "seed": self.seed})

    def to_dict(self) -> dict[str, Any]:
        """Everything but the Profiles, as JSON can hold it."""
        return {
            "experiment": self.experiment,
            "options": dict(self.options),
            "seed": self.seed,
            "as_expected": self.as_expected,
            "checks": [{**_finite(asdict(c)), "holds": c.holds, "expectation": c.expectation} for c in self.checks],
            "figures": [figure_to_dict(figure) for figure in self.figures],
            "profiles": list(self.profiles),
            "seconds": self.seconds,
            "versions": dict(self.versions),
        }

    def save(self, out: str | Path) -> Path:
        """Writes the run into a folder of its own below `out`, in the place of an earlier one of the same key.

        Returns:
            That folder.

        Raises:
            OSError: it cannot be written.
        """
        folder = Path(out) / f"{self.experiment}-{self.key}"
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / PROFILES, b"".join(to_line(profile) for profile in self.profiles.values()))
        # Last: where this file is, the run is whole.
        write_whole(folder / FILE_NAME, json.dumps(self.to_dict(), indent=1, allow_nan=False).encode())
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Result:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: no run in this folder.
            ValueError: a file of something else.
        """
        file = Path(folder) / FILE_NAME
        if not file.is_file():
            raise FileNotFoundError(f"No run in {str(folder)!r}: there is no {FILE_NAME} in it.")
        try:
            data = json.loads(file.read_bytes())
            lines = (file.parent / PROFILES).read_bytes().splitlines()
            profiles = {name: from_line(line) for name, line in zip(data["profiles"], lines, strict=True)}
            if None in profiles.values():
                raise ValueError(f"{PROFILES} is cut off")
            checks = tuple(Check(**_infinite(check)) for check in data["checks"])
            figures = tuple(figure_from_dict(figure) for figure in data["figures"])
            fields = {name: data[name] for name in ("experiment", "options", "seed", "seconds", "versions")}
            return cls(profiles=profiles, checks=checks, figures=figures, **fields)  # type: ignore[arg-type]
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise ValueError(f"{str(file)!r} is no run of an experiment: {error}. Run it again.") from error

    def __rich__(self) -> Any:
        from keras_initlab.lab.tables import checks_table

        return checks_table([self])

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def draw(self) -> list[Any]:
        """The figures as Plotly draws them; each has `show()` and `write_html(file)`.

        Raises:
            ImportError: Plotly is not installed.
        """
        from keras_initlab.lab.drawing import draw

        return [draw(figure) for figure in self.figures]

    def _ipython_display_(self) -> None:
        """Shows table and pictures in a notebook; the table alone where there is no Plotly."""
        from IPython.display import HTML, display

        display(HTML(self._repr_html_()))
        with contextlib.suppress(ImportError):
            for picture in self.draw():
                display(picture)

    def __repr__(self) -> str:
        held = sum(check.holds for check in self.checks)
        return f"<Result of {self.experiment}: {held} of {len(self.checks)} as expected, {len(self)} Profiles>"


def key_of(configuration: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that belong to a configuration: the same in every process, whatever the order."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """What a run's numbers may depend on besides its seed."""
    libraries = ("keras_initlab", "keras", "tensorflow", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is there as a whole or not at all, whenever the process ends."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


_BOUNDS = ("measured", "low", "high", "expected")


def _finite(check: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity: numbers that are not finite are written as strings."""
    return {name: str(v) if name in _BOUNDS and v is not None and v - v != 0 else v for name, v in check.items()}


def _infinite(check: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: float(v) if name in _BOUNDS and v is not None else v for name, v in check.items()}
    return {name: found[name] for name in ("what", *_BOUNDS)}
