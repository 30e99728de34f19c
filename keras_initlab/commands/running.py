"""`initlab run`: its subcommands are the experiments, their options those that the experiments declare."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_initlab.commands.console import as_json, checked, need, out, print_json, seed, show
from keras_initlab.initializers.arguments import Choice, Count, Flag, Real

if TYPE_CHECKING:
    from keras_initlab.lab import Experiment, Result
    from keras_initlab.lab.options import Option

__all__ = ["run"]

_HELP = """Run an experiment, or all of them, and compare what is measured with what is expected.

The run is saved below --out, with a report.html that shows it and a table.md of what was expected and measured.
`initlab run NAME --help` tells what an experiment builds and what it can be told.

With --all the exit code is 1 if anything is not as expected, or if an experiment fails; the others go on. A single
experiment ends with 0 whatever it finds, since with other options other things may be true.
"""


class _Experiments(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        from keras_initlab.lab import EXPERIMENTS

        return list(EXPERIMENTS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from keras_initlab.lab import EXPERIMENTS

        return _command(EXPERIMENTS[name]) if name in EXPERIMENTS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from keras_initlab.lab.experiment import find

        if not args[0].startswith("-"):
            try:
                find(args[0])
            except ValueError as error:
                ctx.fail(str(error))
        return super().resolve_command(ctx, args)


def _run(ctx: click.Context, everything: bool, **common: Any) -> None:
    if ctx.invoked_subcommand is not None:
        if everything:
            ctx.fail(f"--all runs every experiment. Leave it out, or leave {ctx.invoked_subcommand!r} out.")
        # What stands before the name is meant for the experiment too.
        given = {name: value for name, value in common.items() if value is not None}
        ctx.default_map = {ctx.invoked_subcommand: given}
    elif not everything:
        ctx.fail("Name an experiment, or ask for --all. `initlab list` shows them.")
    else:
        _run_all(**common)


def _command(experiment: Experiment) -> click.Command:
    def callback(seed: int | None, out: str | None, as_json: bool | None, **options: Any) -> None:
        folder = _prepared(out)
        given = {name: value for name, value in options.items() if value is not None}
        from keras_initlab.lab import run

        # What is fetched for an experiment tells of it on the output stream.
        with contextlib.redirect_stdout(sys.stderr):
            result = run(experiment.name, seed=seed or 0, out=folder, **given)
        _finish([result], {}, folder, as_json)

    lesson = f"{experiment.title}.\n\n{experiment.lesson}\n\nSource: {experiment.source}"
    params: list[click.Parameter] = [*map(_option, experiment.options), seed(), out(), as_json()]
    return click.Command(experiment.name, callback=callback, params=params, help=lesson, short_help=experiment.title)


def _option(option: Option) -> click.Option:
    name, limit = option.name.replace("_", "-"), option.limit
    if isinstance(limit, Flag):
        text = f"{option.help}. [default: {'--' if option.default else '--no-'}{name}]"
        return click.Option([f"--{name}/--no-{name}", option.name], default=None, help=text)
    kind: Any = {Count: int, Real: float}.get(type(limit), float if isinstance(limit, Real) else str)
    allowed = limit.allowed
    if isinstance(limit, Choice):
        kind, allowed = click.Choice(limit.options), ""
    text = "; ".join(part for part in (option.help, allowed) if part)
    return click.Option(
        [f"--{name}", option.name], type=kind, callback=checked(limit), help=f"{text}. [default: {option.default}]"
    )


def _run_all(seed: int | None, out: str | None, as_json: bool | None) -> None:
    from keras_initlab.lab import EXPERIMENTS
    from keras_initlab.model_init.progress import progress_bar

    folder = _prepared(out)
    results: list[Result] = []
    failed: dict[str, str] = {}
    with progress_bar() as progress, contextlib.redirect_stdout(sys.stderr):
        task = progress.add_task("experiments", total=len(EXPERIMENTS))
        try:
            for name, experiment in EXPERIMENTS.items():
                progress.update(task, description=name)
                try:
                    results.append(result := experiment.run(seed=seed or 0, progress=progress))
                    result.save(folder)
                except Exception as error:  # the other experiments go on, whatever it is
                    failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
                    progress.console.print(f"{name}: {failed[name]}", markup=False, highlight=False)
                else:
                    said = "as expected" if result.as_expected else "NOT as expected"
                    progress.console.print(f"{name}: {result.seconds:.1f} s, {said}", highlight=False)
                progress.advance(task)
        except KeyboardInterrupt:
            done = len(results) + len(failed)
            failed["(interrupted)"] = f"{len(EXPERIMENTS) - done} of {len(EXPERIMENTS)} experiments were not run"
    _finish(results, failed, folder, as_json)
    if failed or not all(result.as_expected for result in results):
        raise click.exceptions.Exit(1)


def _prepared(out: str | None) -> Path:
    """The folder for results, after asking for all that is needed in the end."""
    from keras_initlab.lab.running import check_writable

    need("plotly", "jinja2")
    folder = Path(out or "runs")
    check_writable(folder)
    return folder


def _finish(results: list[Result], failed: dict[str, str], folder: Path, as_json: bool | None) -> None:
    from keras_initlab.lab.report import Contents, write_page
    from keras_initlab.lab.result import write_whole
    from keras_initlab.lab.tables import checks_table, markdown

    contents = Contents(results=results, problems=[f"{name}: {error}" for name, error in failed.items()])
    page = write_page(contents, folder / "report.html")
    write_whole(folder / "table.md", markdown(results).encode())
    if as_json:
        shown = [
            {k: v for k, v in result.to_dict().items() if k != "figures"} | {"key": result.key} for result in results
        ]
        print_json({"results": shown, "failed": failed, "report": str(page)})
        return
    show(checks_table(results, failed))
    click.echo(f"Report: {page}")


run = _Experiments(
    "run",
    callback=click.pass_context(_run),
    params=[
        click.Option(["--all", "everything"], is_flag=True, help="Run every experiment with its defaults."),
        *(seed(), out(), as_json()),
    ],
    help=_HELP,
    short_help="Run an experiment, or all of them.",
    invoke_without_command=True,
    subcommand_metavar="NAME [OPTIONS]...",
)
