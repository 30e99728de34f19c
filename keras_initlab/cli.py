"""The command `initlab`."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import click

from keras_initlab import __version__
from keras_initlab.commands.inspecting import inspect
from keras_initlab.commands.listing import list_experiments
from keras_initlab.commands.reporting import report
from keras_initlab.commands.running import run
from keras_initlab.commands.sweeping import sweep

__all__ = ["main"]

# What people can mend is said in one line; everything else is a fault of this package, and wants its traceback.
_MENDABLE = (ValueError, TypeError, OSError, ImportError, RuntimeError)
# Of click itself, which makes exit codes of them; and a reader of the output that has gone.
_PASSED_ON = (click.exceptions.Exit, click.exceptions.Abort, BrokenPipeError)


class _Command(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except _PASSED_ON:
            raise
        except _MENDABLE as error:
            raise click.ClickException(" ".join(str(error).split()) or type(error).__name__) from error


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings without the line of code that they come from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: click.echo(f"Warning: {message}", err=True)
        yield


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="initlab %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """The classical experiments on weight initialization, and what is happening inside a model.

    Exit codes: 0 done, 1 failed, 2 not understood.
    """
    # Of this process it silences what TensorFlow has not said yet; of the processes of a sweep all.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    ctx.with_resource(_plain_warnings())


for _command in (list_experiments, run, inspect, report, sweep):
    main.add_command(_command)

if __name__ == "__main__":
    main(prog_name="initlab")
