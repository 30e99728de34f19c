"""One experiment, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_initlab.lab.experiment import find
from keras_initlab.lab.result import Result
from keras_initlab.model_init.progress import progress_bar

__all__ = ["run"]


def run(name: str, *, seed: int = 0, out: str | Path | None = None, verbose: Any = "auto", **options: Any) -> Result:
    """Runs an experiment: builds its networks, measures them, and compares with what is expected.

    Args:
        name: one of `lab.EXPERIMENTS`.
        seed: a whole number from 0, from which all random numbers are made. Default 0, so that a run can be repeated.
        out: folder to save the run in, as `Result.save` does. Default: it is not saved.
        verbose: "auto" shows a progress bar where there is a terminal or notebook, True anyway, False none.
        **options: of the experiment, such as `width=512`; `EXPERIMENTS[name].options` lists them.

    Returns:
        The Result: Profiles by name, checks and figures.

    Raises:
        ValueError: no such experiment, or an option out of range.
        TypeError: no such option, or one of the wrong kind.
        OSError: `out` cannot be written to; before anything is run.

    Example:
        >>> from keras_initlab import lab
        >>> print(repr(lab.run("linear-100", width=256, verbose=0)))
        <Result of linear-100: 5 of 5 as expected, 3 Profiles>
    """
    found = find(name)
    if out is not None:
        check_writable(out)
    with progress_bar(verbose) as progress:
        result = found.run(seed=seed, progress=progress, **options)
    if out is not None:
        result.save(out)
    return result


def check_writable(out: str | Path) -> None:
    """Makes a folder, and refuses one that cannot be written to, before there is anything to lose.

    Raises:
        OSError: it is not writable, or a file.
    """
    folder = Path(out)
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise type(error)(
            f"out={str(out)!r} must be a folder that can be written to: {error.strerror or error}."
        ) from error
