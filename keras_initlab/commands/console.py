"""What the commands share: options, and how results are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import click

from keras_initlab.initializers.arguments import Argument, Count
from keras_initlab.terminal import as_text

__all__ = ["as_json", "checked", "need", "out", "print_json", "seed", "show"]


def checked(limit: Argument) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that checks an option's value; what is wrong with it is a usage error."""

    def check(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is None:
            return None
        try:
            return limit.check(str(parameter.name), value)
        except (TypeError, ValueError) as error:
            raise click.BadParameter(str(error), ctx, parameter) from error

    return check


def seed() -> click.Option:
    """`--seed`."""
    limit = Count(0, 2**31 - 1)
    text = "From which all random numbers are made. [default: 0]"
    return click.Option(["--seed"], type=int, callback=checked(limit), help=text)


def out() -> click.Option:
    """`--out`."""
    text = "Folder for results and report. [default: runs]"
    return click.Option(["--out"], type=click.Path(file_okay=False), help=text)


def as_json() -> click.Option:
    """`--json`."""
    return click.Option(["--json", "as_json"], is_flag=True, default=None, help="JSON for machines, and nothing else.")


def show(renderable: Any) -> None:
    """A table on the output stream: in the terminal's width and colours, or as plain text, as wide as it needs."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(renderable)
    else:
        click.echo(as_text(renderable))


def print_json(data: Any) -> None:
    """Data as JSON; what is not finite must have been taken out."""
    click.echo(json.dumps(data, allow_nan=False, ensure_ascii=False))


def need(*modules: str) -> None:
    """Asks for optional libraries before there is anything to lose.

    Raises:
        ImportError: one is not installed.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        raise ImportError(f"This needs {' and '.join(missing)}: pip install 'keras_initlab[lab]'.")
