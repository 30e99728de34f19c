"""Time of a float32 draw against Keras's initializer of the same law: ``python benchmarks/draws.py``.

The two draws of a pair follow each other directly, in an order that alternates, so that a busy machine slows both;
the ratio is the median over the pairs. What to reach is 1.10 or less.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
from rich.console import Console
from rich.progress import track
from rich.table import Table

from keras_initlab import initializers

SIDE, PAIRS, REACH = 4096, 7, 1.10
# Factorising 4096×4096 takes six seconds with either.
ORTHOGONAL_SIDE, ORTHOGONAL_PAIRS = 2048, 3


def laws() -> dict[str, tuple[Any, Any]]:
    """Pairs of initializers of one law: ours and Keras's."""
    theirs = keras.initializers
    plain = ["RandomNormal", "TruncatedNormal", "RandomUniform"]
    named = [f"{author}{law}" for author in ("Glorot", "He", "Lecun") for law in ("Normal", "Uniform")]
    pairs = {name: (getattr(initializers, name)(seed=1), getattr(theirs, name)(seed=1)) for name in plain + named}
    for law in ("truncated_normal", "untruncated_normal", "uniform"):
        arguments = {"scale": 2.0, "mode": "fan_avg", "distribution": law, "seed": 1}
        pairs[f"VarianceScaling, {law}"] = (
            initializers.VarianceScaling(**arguments),
            theirs.VarianceScaling(**arguments),
        )
    pairs["Orthogonal"] = (initializers.Orthogonal(seed=1), theirs.Orthogonal(seed=1))
    return pairs


def seconds(draw: Callable[..., Any], side: int) -> float:
    """Time of one draw, until its values are there."""
    begin = time.perf_counter()
    draw((side, side), dtype="float32").numpy()
    return time.perf_counter() - begin


def compare(ours: Any, theirs: Any, side: int, pairs: int) -> tuple[float, float, float]:
    """Medians over interleaved pairs: our seconds, Keras's, and the ratio."""
    seconds(ours, side), seconds(theirs, side)
    times = []
    for pair in range(pairs):
        if pair % 2:
            other = seconds(theirs, side)
            times.append((seconds(ours, side), other))
        else:
            times.append((seconds(ours, side), seconds(theirs, side)))
    mine, other = zip(*times, strict=True)
    return statistics.median(mine), statistics.median(other), statistics.median(a / b for a, b in times)


def main() -> dict[str, float]:
    """Print the table; return the ratio by law."""
    table = Table(title="a float32 draw against Keras's initializer of the same law")
    for column in ("law", "shape", "seconds", "Keras", "ratio", f"≤ {REACH:.2f}"):
        table.add_column(column, justify="left" if column == "law" else "right")
    ratios = {}
    for name, (ours, theirs) in track(laws().items(), description="drawing"):
        side, pairs = (ORTHOGONAL_SIDE, ORTHOGONAL_PAIRS) if name == "Orthogonal" else (SIDE, PAIRS)
        mine, other, ratio = compare(ours, theirs, side, pairs)
        ratios[name] = ratio
        verdict = "yes" if ratio <= REACH else "no"
        table.add_row(name, f"{side}×{side}", f"{mine:.3f}", f"{other:.3f}", f"{ratio:.2f}", verdict)
    Console().print(table)
    return ratios


if __name__ == "__main__":
    main()
