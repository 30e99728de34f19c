"""Time of a float32 draw against Keras's and PyTorch's of the same law: ``python benchmarks/draws.py``.

Needs PyTorch, which ``make bench`` installs. The draws to compare follow each other directly, in an order that rotates,
so that a busy machine slows all of them; a ratio is the median over the turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from keras_initlab import initializers

TURNS = 7
# Idle threads of OpenMP and Eigen spin for a while, which would slow whoever comes next.
_PAUSE = 0.3
SQUARE = (4096, 4096)
MATRICES = [(2048, 2048), (4608, 512), (8192, 1024)]
# law -> what to reach: time over Keras's at most, PyTorch's time over ours at least
REACH = {"Orthogonal": (0.5, 2.0), "TruncatedNormal": (1.0, 4.0)}
OTHERS = (1.1, None)

Draw = Callable[[tuple[int, ...]], Any]


def of_torch(fill: Callable[[Any], Any]) -> Draw:
    """A draw by one of PyTorch's functions that fill a tensor in place."""
    return lambda shape: fill(torch.empty(shape))


def laws() -> dict[str, dict[str, Draw]]:
    """Draws by law and library."""
    names = ["RandomNormal", "TruncatedNormal", "RandomUniform", "Orthogonal"]
    names += [f"{author}{law}" for author in ("Glorot", "He", "Lecun") for law in ("Normal", "Uniform")]
    found: dict[str, dict[str, Draw]] = {
        name: {"ours": getattr(initializers, name)(seed=1), "Keras": getattr(keras.initializers, name)(seed=1)}
        for name in names
    }
    init = torch.nn.init
    found["RandomNormal"]["PyTorch"] = of_torch(lambda w: init.normal_(w, 0.0, 0.05))
    found["RandomUniform"]["PyTorch"] = of_torch(lambda w: init.uniform_(w, -0.05, 0.05))
    found["TruncatedNormal"]["PyTorch"] = of_torch(lambda w: init.trunc_normal_(w, 0.0, 0.05, -0.1, 0.1))
    found["Orthogonal"]["PyTorch"] = of_torch(init.orthogonal_)
    return found


def seconds(draw: Draw, shape: tuple[int, ...]) -> float:
    """Time of one draw, until its values are there."""
    time.sleep(_PAUSE)
    begin = time.perf_counter()
    draw(shape).numpy()
    return time.perf_counter() - begin


def compare(draws: dict[str, Draw], shape: tuple[int, ...]) -> dict[str, list[float]]:
    """Seconds of each library in each turn."""
    times: dict[str, list[float]] = {library: [] for library in draws}
    for draw in draws.values():
        seconds(draw, shape)
    for turn in range(TURNS):
        order = list(draws)[turn % len(draws) :] + list(draws)[: turn % len(draws)]
        for library in order:
            times[library].append(seconds(draws[library], shape))
    return times


def defect(w: Any) -> float:
    """Largest entry of WᵀW − I, in float64."""
    wide = np.asarray(w, "float64")
    return float(np.abs(wide.T @ wide - np.eye(wide.shape[1])).max())


def ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    """Median of the turns' ratios."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def main() -> dict[tuple[str, tuple[int, ...]], tuple[float, float | None]]:
    """Print the tables; return our time over Keras's and PyTorch's over ours, by law and shape."""
    table = Table(title="a float32 draw against Keras's and PyTorch's")
    for column in ("law", "shape", "seconds", "ours / Keras", "PyTorch / ours", "reached", "max |WᵀW − I|", "Keras's"):
        table.add_column(column, justify="left" if column == "law" else "right")
    results: dict[tuple[str, tuple[int, ...]], tuple[float, float | None]] = {}
    cases = [(law, shape) for law in laws() for shape in (MATRICES if law == "Orthogonal" else [SQUARE])]
    for law, shape in track(cases, description="drawing"):
        draws = laws()[law]
        times = compare(draws, shape)
        to_keras = ratio(times, "ours", "Keras")
        to_torch = ratio(times, "PyTorch", "ours") if "PyTorch" in draws else None
        most, least = REACH.get(law, OTHERS)
        reached = to_keras <= most and (least is None or to_torch is None or to_torch >= least)
        wanted = f"≤ {most:g}" + ("" if least is None else f", ≥ {least:g}")
        exact = [f"{defect(draws[library](shape)):.1e}" for library in ("ours", "Keras")] if law == "Orthogonal" else []
        shown = "" if to_torch is None else f"{to_torch:.2f}"
        row = (law, "×".join(map(str, shape)), f"{statistics.median(times['ours']):.3f}", f"{to_keras:.2f}", shown)
        table.add_row(*row, f"{'yes' if reached else 'no'} ({wanted})", *exact)
        results[law, shape] = to_keras, to_torch
    Console().print(table)
    return results


if __name__ == "__main__":
    main()
