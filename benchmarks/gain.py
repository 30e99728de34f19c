"""Time of a gain, first and kept, against SciPy's ``quad`` doing the same integral: ``python benchmarks/gain.py``.

Each first call gets a function object that was never seen; it and the peer follow each other directly, in an order that
alternates, so that a busy machine slows both. What to reach: a first call in 20 milliseconds, a kept one in 20
microseconds. The peer is told the kinks, which the first call has to find, and its derivative is a formula.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import integrate

from keras_initlab.theory import gain

TURNS, KEPT_CALLS = 41, 1000
REACH_FIRST, REACH_KEPT = 20e-3, 20e-6

# name: a maker of new objects of one function, its derivative for the peer, its kinks for the peer
FUNCTIONS: dict[str, tuple[Callable[[], Any], Callable[[float], float] | None, Sequence[float]]] = {
    "tanh": (lambda: lambda x: np.tanh(x), lambda x: 1 - math.tanh(x) ** 2, ()),
    "leaky": (lambda: lambda x: np.maximum(x, 0.1 * x), lambda x: 1.0 if x > 0 else 0.1, (0.0,)),
    "shifted |x|": (lambda: lambda x: np.abs(x - 0.3217), lambda x: math.copysign(1.0, x - 0.3217), (0.3217,)),
    "steps": (lambda: lambda x: np.floor(4 * np.clip(x, -2, 2)), None, np.arange(-2, 2.25, 0.25)),
    "of floats": (lambda: lambda x: math.tanh(x), lambda x: 1 - math.tanh(x) ** 2, ()),
}


def seconds(call: Callable[[], Any]) -> float:
    """Time of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def peer(function: Callable[[float], Any], kinks: Sequence[float]) -> float:
    """The gain of a function of floats by SciPy, over 10 standard deviations to either side."""
    density = 1 / math.sqrt(2 * math.pi)
    square, _ = integrate.quad(
        lambda z: float(function(z)) ** 2 * density * math.exp(-0.5 * z * z),
        -10.0,
        10.0,
        points=tuple(kinks) or None,
        epsabs=0,
        epsrel=1e-12,
        limit=200,
    )
    return 1 / math.sqrt(square)


def compare(name: str, criterion: str) -> tuple[float, float, float, float]:
    """Medians over the turns: seconds of a first call, of a kept one, of the peer, and the ratio of first to peer."""
    make, slope, kinks = FUNCTIONS[name]
    first, kept, other, ratios = [], [], [], []
    for turn in range(TURNS):
        function = make()
        calls = {
            "ours": lambda function=function: gain(function, criterion),
            "peer": lambda function=function: peer(function if criterion == "forward" else slope, kinks),
        }
        times = {key: seconds(calls[key]) for key in (sorted(calls) if turn % 2 else sorted(calls, reverse=True))}
        first.append(times["ours"])
        other.append(times["peer"])
        ratios.append(times["ours"] / times["peer"])
        begin = time.perf_counter()
        for _ in range(KEPT_CALLS):
            gain(function, criterion)
        kept.append((time.perf_counter() - begin) / KEPT_CALLS)
    return statistics.median(first), statistics.median(kept), statistics.median(other), statistics.median(ratios)


def main() -> dict[tuple[str, str], tuple[float, float, float]]:
    """Print the table; return seconds of first and kept calls and the ratio, by function and criterion."""
    table = Table(title="the gain of a function, first and kept, against scipy.integrate.quad")
    for column in ("function", "criterion", "first, ms", "kept, µs", "quad, ms", "ratio", "≤ 20 ms, 20 µs"):
        table.add_column(column, justify="left" if column in ("function", "criterion") else "right")
    results = {}
    cases = [(name, c) for name in FUNCTIONS for c in ("forward", "backward") if c == "forward" or FUNCTIONS[name][1]]
    for name, criterion in track(cases, description="integrating"):
        first, kept, other, ratio = compare(name, criterion)
        results[name, criterion] = first, kept, ratio
        verdict = "yes" if first <= REACH_FIRST and kept <= REACH_KEPT else "no"
        numbers = (f"{first * 1e3:.2f}", f"{kept * 1e6:.2f}", f"{other * 1e3:.2f}", f"{ratio:.2f}")
        table.add_row(name, criterion, *numbers, verdict)
    Console().print(table)
    return results


if __name__ == "__main__":
    main()
