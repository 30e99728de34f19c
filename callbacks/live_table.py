"""The worst layers of a network in the terminal, while it trains."""

from __future__ import annotations

import math
import shutil
import sys
import time

from ..statistics.profile import Profile
from ..terminal import as_text
from .worst_layers import HEALTHY, worst_layers

_REDRAW_SECONDS = 0.5
_LAYER_WIDTH = 40  # of 100 columns; reasons take up to 60


class LiveTable:
    """Shows the worst three layers of the last Profile below Keras's progress bar.

    In a terminal the table has its place below the line of the progress bar, where it is drawn again with each Profile,
    twice a second at most; the last one stays. Elsewhere, in a file or a notebook, one table is printed at the end of
    each epoch in which something was measured.

    Example:
        >>> import keras_initlab as kil
        >>> table = LiveTable()
        >>> table.show(kil.Profile(100, [(0, "hidden", "activation", None)], {"nonfinite": [0], "dead": [0.62]}))
        >>> table.close()
        <BLANKLINE>
        step 100: layers that stand out
          hidden  62 % of units dead
    """

    def __init__(self) -> None:
        self._latest: Profile | None = None
        self._drawn_at = -math.inf
        self._drawn = False

    def show(self, profile: Profile) -> None:
        """Draws the table of a Profile; where there is no terminal, keeps it until the epoch ends."""
        self._latest = profile
        if sys.stdout.isatty() and time.monotonic() - self._drawn_at >= _REDRAW_SECONDS:
            self._drawn_at, self._drawn = time.monotonic(), True
            # A line that the terminal had to wrap would be two on the way back up.
            columns = shutil.get_terminal_size().columns - 1
            lines = [line[:columns] for line in table_of(profile).splitlines()]
            # Below the line of the cursor and back up into it: Keras's progress bar starts its line over by itself.
            _write("".join(f"\n{line}\x1b[K" for line in lines) + f"\x1b[J\x1b[{len(lines)}A\r")

    def end_epoch(self) -> None:
        """Makes room for what Keras prints at the end of an epoch."""
        if sys.stdout.isatty():
            self._clear()
        else:
            self._print()

    def close(self) -> None:
        """Leaves the last table behind."""
        self._clear()
        self._print()

    def _clear(self) -> None:
        if self._drawn:
            _write("\n\x1b[J\x1b[A")
            self._drawn = False

    def _print(self) -> None:
        if self._latest is not None:
            # Keras leaves its progress bar without an end of line.
            _write(f"\n{table_of(self._latest)}\n")
            self._latest = None


def table_of(profile: Profile) -> str:
    """The worst layers of a Profile as text, up to 100 columns wide."""
    from rich.table import Table
    from rich.text import Text

    shown = [(layer, reason) for layer, score, reason in worst_layers(profile) if score >= 1]
    if not shown:
        return f"step {profile.step:,}: {HEALTHY} in {len({key[1] for key in profile.keys})} layers"
    table = Table.grid(padding=(0, 2), pad_edge=True)
    for layer, reason in shown:
        # The end of a path says which layer it is.
        name = layer if len(layer) <= _LAYER_WIDTH else f"…{layer[1 - _LAYER_WIDTH :]}"
        table.add_row(Text(name), Text(reason))
    return f"step {profile.step:,}: layers that stand out\n{as_text(table)}"


def _write(text: str) -> None:
    """Whatever the encoding of the output has no letter for becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()
