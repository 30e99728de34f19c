"""`initlab list`."""

from __future__ import annotations

from typing import Any

import click

from keras_initlab.commands.console import as_json, print_json, show

__all__ = ["list_experiments"]


def _list(as_json: bool | None) -> None:
    from keras_initlab.lab import EXPERIMENTS

    if as_json:
        print_json([_as_dict(experiment) for experiment in EXPERIMENTS.values()])
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold")
    for name in ("experiment", "what happens", "options"):
        table.add_column(name, overflow="fold")
    for experiment in EXPERIMENTS.values():
        options = ", ".join(f"{option.name} {option.default}" for option in experiment.options)
        table.add_row(experiment.name, escape(experiment.title), escape(options))
    show(table)


def _as_dict(experiment: Any) -> dict[str, Any]:
    options = [
        {"name": o.name, "default": o.default, "allowed": o.limit.allowed, "help": o.help} for o in experiment.options
    ]
    return {**{name: getattr(experiment, name) for name in ("name", "title", "lesson", "source")}, "options": options}


list_experiments = click.Command("list", callback=_list, params=[as_json()], help="The experiments and their options.")
