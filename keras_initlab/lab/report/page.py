"""The page: runs, sweeps and logs in one file of HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_initlab.lab.drawing import draw
from keras_initlab.lab.drawing.style import cell
from keras_initlab.lab.experiment import EXPERIMENTS
from keras_initlab.lab.figures import Table
from keras_initlab.lab.report.collecting import Contents, Row, collect
from keras_initlab.lab.report.pictures import over_depth, over_grid, varied
from keras_initlab.lab.result import Result, write_whole
from keras_initlab.statistics.profile import Profile

__all__ = ["report", "write_page"]

_MOST_ROWS = 500


def report(runs: str | Path | Result | Iterable[str | Path | Result], path: str | Path = "report.html") -> Path:
    """Writes a page about runs of experiments, sweeps and logged trainings; it opens without a network.

    Args:
        runs: a folder that holds them, or several; Results too. Folders that hold a damaged run are named on the page,
            beside the others.
        path: the file, written as a whole. Default `report.html`, where the process runs.

    Returns:
        The path.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: nothing to report in any of them.
        ImportError: Jinja2 or Plotly is not installed.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from keras_initlab import lab
        >>> from keras_initlab.lab.report import report
        >>> folder = tempfile.mkdtemp()
        >>> result = lab.run("nine-layers", out=folder, verbose=False)
        >>> report(folder, folder + "/report.html").name
        'report.html'
    """
    return write_page(collect(runs), path)


def write_page(contents: Contents, path: str | Path) -> Path:
    """Writes the page about what was collected.

    Raises:
        ValueError: nothing was.
        ImportError: Jinja2 or Plotly is not installed.
        OSError: the file cannot be written.
    """
    if not contents and not contents.problems:
        raise ValueError(
            "There is no run to report. Give a folder that `initlab run --out`, `initlab sweep --out` or a "
            "LayerStatistics callback wrote."
        )
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError(
            "A report needs Jinja2 and Plotly, which are not installed: pip install 'keras_initlab[lab]'."
        ) from error
    loader = PackageLoader("keras_initlab.lab.report", "")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters["cell"] = cell
    text = page.get_template("page.html.j2").render(
        runs=[_run(result) for result in contents.results],
        sweeps=[_sweep(folder, rows) for folder, rows in contents.sweeps.items()],
        logs=[_log(folder, profiles) for folder, profiles in contents.logs.items()],
        problems=contents.problems,
        plotly=Markup(get_plotlyjs()),
    )
    write_whole(Path(path), text.encode())
    return Path(path)


def _run(result: Result) -> dict[str, Any]:
    experiment = EXPERIMENTS.get(result.experiment)
    changed = [
        f"{option.name} {result.options[option.name]}"
        for option in (experiment.options if experiment else ())
        if result.options.get(option.name, option.default) != option.default
    ]
    label = ", ".join([result.experiment, *changed, *([f"seed {result.seed}"] if result.seed else [])])
    return {
        "id": f"{result.experiment}-{result.key}",
        "label": label,
        "title": experiment.title if experiment else result.experiment,
        "lesson": experiment.lesson.split("\n\n") if experiment else [],
        "source": experiment.source if experiment else "",
        "result": result,
        "figures": [_shown(figure) for figure in result.figures],
        "profiles": [_json(picture) for picture in over_depth(result.profiles)],
    }


def _sweep(folder: str, rows: list[Row]) -> dict[str, Any]:
    columns, same = varied(rows)
    cells = [["" if row.get(name) is None else row[name] for name in columns] for row in rows[:_MOST_ROWS]]
    return {
        "folder": folder,
        "count": len(rows),
        "failed": sum(row.get("error") is not None for row in rows),
        "same": same,
        "table": Table.of("", columns, cells),
        "figures": [_json(picture) for picture in over_grid(rows)],
    }


def _log(folder: str, profiles: tuple[Profile, ...]) -> dict[str, Any]:
    named: Mapping[str, Profile] = {f"step {profile.step}": profile for profile in profiles}
    return {"folder": folder, "steps": list(named), "figures": [_json(p) for p in over_depth(named, ridges=True)]}


def _shown(figure: Any) -> Any:
    """A table as it is, for the page has tables of its own; of everything else what Plotly draws."""
    return figure if isinstance(figure, Table) else _json(draw(figure))


def _json(drawn: Any) -> dict[str, Any]:
    from markupsafe import Markup

    # Inside a script element nothing is markup but the end of the element itself.
    return {"height": drawn.layout.height, "json": Markup(drawn.to_json().replace("<", "\\u003c"))}
