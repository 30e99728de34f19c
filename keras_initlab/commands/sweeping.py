"""`initlab sweep`."""

from __future__ import annotations

from typing import Any

import click

from keras_initlab.commands.console import checked, print_json, show
from keras_initlab.initializers.arguments import Count

__all__ = ["sweep"]


@click.command(short_help="Train a network for every combination in a grid.")
@click.argument("grid", type=click.Path(exists=True, dir_okay=False))
@click.option("--workers", type=int, callback=checked(Count(1, 1024)), help="Processes. [default: one for each core]")
@click.option("--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster whose workers do the runs.")
@click.option("--out", type=click.Path(file_okay=False), default="runs", show_default=True, help="Folder for the rows.")
@click.option(
    "--rows", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True, help="Their format."
)
@click.option("--json", "as_json", is_flag=True, help="The rows as JSON, and nothing else.")
def sweep(grid: str, workers: int | None, dask: str | None, out: str, rows: str, as_json: bool) -> None:
    """Train a network for every combination in a grid.

    GRID is a TOML file with a value or a list of values for each of initializer, activation, depth, width, batchnorm,
    optimizer, learning_rate, dataset, steps, batch and seed; what is left out keeps its default:

    \b
        initializer = ["HeNormal", "GlorotUniform"]
        depth = [5, 10, 20]
        seed = [0, 1, 2]

    Each run is stored as soon as it is done. A sweep that was stopped, or killed, goes on when it is called again.
    Runs that failed are rows with their error.
    """
    if workers is not None and dask is not None:
        raise click.UsageError("--workers is for processes of this machine; a Dask cluster has its own. Leave one out.")
    from keras_initlab.lab.sweeps import sweep as run_sweep

    if dask is None:
        found = run_sweep(grid, out=out, workers=workers, rows=rows)
    else:
        with _client(dask) as client:
            found = run_sweep(grid, client.get_executor(), out=out, rows=rows)
    if as_json:
        print_json(list(found))
        return
    show(found)
    click.echo(f"Rows: {out}. `initlab report {out}` makes a page of them.")


def _client(address: str) -> Any:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ImportError("--dask needs Dask: pip install 'keras_initlab[dask]'.") from error
    try:
        return Client(address, timeout="5s")
    except (OSError, ValueError) as error:
        raise ConnectionError(f"There is no Dask scheduler at {address!r}. `dask scheduler` starts one.") from error
