"""`initlab report`."""

from __future__ import annotations

from pathlib import Path

import click

from keras_initlab.commands.console import need

__all__ = ["report"]


@click.command(short_help="One page about all that is in a folder.")
@click.argument("runs", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file. [default: RUNS/report.html]")
def report(runs: Path, out: Path | None) -> None:
    """Write one self-contained page about all that is in a folder.

    RUNS is the folder: runs of experiments, sweeps, logs of LayerStatistics. What cannot be read is named, the exit
    code is then 1, and the page tells of everything else.
    """
    need("plotly", "jinja2")
    from keras_initlab.lab.report import collect, write_page

    found = collect(runs)
    if not found and not found.problems:
        raise ValueError(
            f"There is nothing to report in {str(runs)!r}. Give a folder that `initlab run`, `initlab sweep` or a "
            "LayerStatistics callback wrote."
        )
    page = write_page(found, out or runs / "report.html")
    for problem in found.problems:
        click.echo(f"Not in the report: {problem}", err=True)
    click.echo(f"Report: {page}")
    if found.problems:
        raise click.exceptions.Exit(1)
