"""A progress bar on the error stream, where there is somebody to see it."""

from __future__ import annotations

from typing import Any

__all__ = ["progress_bar"]


def progress_bar(verbose: Any = "auto") -> Any:
    """A rich progress bar.

    Args:
        verbose: True or False; ``"auto"`` for a bar that is shown in a terminal or notebook only, and goes afterwards.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    shown = bool(verbose) if verbose != "auto" else console.is_terminal or console.is_jupyter
    return Progress(console=console, transient=verbose == "auto", disable=not shown)
