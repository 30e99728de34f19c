"""Laws of equal variance: what the largest of a million draws is, and what a cut costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

import keras_initlab as kil
from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines, Ridges, Table, numbers
from keras_initlab.lab.networks import seeded

__all__: list[str] = []

Draws = Annotated[int, Count(100, 10_000_000), "numbers drawn of each law"]
# Outside of the middle 99.99 % of where a law's largest draw lies.
_BEYOND = 0.00005
_BINS = 60


class _Law(NamedTuple):
    """A law as this package and Keras draw it, by a seed, and as SciPy knows it, by the name and the arguments."""

    ours: Callable[[int], Any]
    keras: Callable[[int], Any]
    scipy: tuple[str, tuple[float, ...], dict[str, float]]


# Standard deviation of N(0, 1) cut at ±2, by which the scale is divided so that the values have the one asked for.
_CUT = 0.8796256610342398
_UNIFORM = math.sqrt(3)
# The laws scaled by their fan get a kernel with one input, so that each is asked for a standard deviation of 1.
LAWS = {
    "normal": _Law(
        lambda seed: kil.RandomNormal(stddev=1.0, seed=seed),
        lambda seed: keras.initializers.RandomNormal(stddev=1.0, seed=seed),
        ("norm", (), {}),
    ),
    "cut at ±2σ": _Law(
        lambda seed: kil.LecunNormal(seed=seed),
        lambda seed: keras.initializers.LecunNormal(seed=seed),
        ("truncnorm", (-2.0, 2.0), {"scale": 1 / _CUT}),
    ),
    "cut, uncorrected": _Law(
        lambda seed: kil.TruncatedNormal(stddev=1.0, seed=seed),
        lambda seed: keras.initializers.TruncatedNormal(stddev=1.0, seed=seed),
        ("truncnorm", (-2.0, 2.0), {}),
    ),
    "uniform": _Law(
        lambda seed: kil.LecunUniform(seed=seed),
        lambda seed: keras.initializers.LecunUniform(seed=seed),
        ("uniform", (), {"loc": -_UNIFORM, "scale": 2 * _UNIFORM}),
    ),
}


@experiment("truncation", "Derived: moments of a cut normal law (Johnson, Kotz & Balakrishnan, 1994, section 13.10.1).")
def truncation(run: Run, draws: Draws = 1_000_000) -> None:
    """Equal variance, other tails: the largest of a million draws, and the correction that a cut needs.

    A million weights are drawn from four laws, each asked for a standard deviation of 1. The largest of a million
    normal draws is near 4.9, and grows without end with their number: somewhere in a large network a unit starts with a
    weight five times the usual one. A normal law cut at two standard deviations and a uniform law have the same
    variance with bounds at 2.27 and 1.73.

    The cut takes the tails away, and with them variance: what is left has a standard deviation of 0.8796. He's and
    Glorot's laws divide by this number. Who draws from TruncatedNormal(stddev=s) with s = √(2/n) instead gets 0.7737 of
    the variance in each layer, and a millionth of it after fifty-four.
    """
    from scipy import stats

    laws = {name: getattr(stats, law.scipy[0])(*law.scipy[1], **law.scipy[2]) for name, law in LAWS.items()}
    rows: list[tuple[str | float, ...]] = []
    lines: list[Line] = []
    far: dict[str, list[float]] = {"ours": [], "Keras": []}
    for i, side in enumerate(run.track(far, "libraries")):
        values = {}
        for j, (name, law) in enumerate(LAWS.items()):
            initializer = (law.keras if side == "Keras" else law.ours)(seeded(run.seed, i, j))
            values[name] = np.ravel(keras.ops.convert_to_numpy(initializer((1, draws), dtype="float32")))
            variance, largest = float(np.var(values[name], dtype=np.float64)), float(values[name].max())
            far[side].append(abs(variance / float(laws[name].var()) - 1) / _variance_error(laws[name], draws))
            if side == "ours":
                run.expect(*_checks(name, laws[name], variance, largest, draws))
            std, median = float(laws[name].std()), typical_largest(laws[name], draws)
            rows.append((name, side, math.sqrt(variance), std, largest, median))
        run.keep(side, profile_of({(name, "weight"): drawn for name, drawn in values.items()}))
        if side == "ours":
            run.show(_histograms(values))
            for name, drawn in values.items():
                lines += _record(name, drawn, laws[name])
    run.expect(Check.at_most("Keras's laws: variance farthest from theory, in standard errors", max(far["Keras"]), 5.0))
    columns = ("law", "drawn by", "std", "expected", "largest", "expected, median")
    run.show(
        Lines("Largest weight", "draws", "largest", tuple(lines), log_x=True),
        Table.of(f"{draws} draws", columns, rows),
    )


def _checks(name: str, law: Any, variance: float, largest: float, draws: int) -> list[Check]:
    low, high = (largest_quantile(law, p, draws) for p in (_BEYOND, 1 - _BEYOND))
    bound = float(law.support()[1])
    if math.isfinite(bound):
        # The largest float32 that is meant by the bound may lie above it.
        below = Check(f"{name}: bound less the largest draw", bound - largest, -bound * 2**-23, bound - low)
    else:
        below = Check(f"{name}: largest of {draws} draws", largest, low, high)
    error = _variance_error(law, draws)
    return [Check.equal(f"{name}: variance", variance, float(law.var()), 5 * error * float(law.var())), below]


def _variance_error(law: Any, draws: int) -> float:
    """Relative standard error of a variance: √((kurtosis − 1)/n)."""
    return math.sqrt((float(law.stats("k")) + 2) / draws)


def largest_quantile(law: Any, p: float, draws: int) -> float:
    """Where the largest of a number of draws stays below with probability p: F(x)ⁿ = p."""
    return float(law.isf(-math.expm1(math.log(p) / draws)))


def typical_largest(law: Any, draws: int) -> float:
    """The median of the largest draw."""
    return largest_quantile(law, 0.5, draws)


def _record(name: str, values: npt.NDArray[Any], law: Any) -> list[Line]:
    """The largest so far against the number of draws, and its median."""
    counts = np.unique(np.geomspace(10, len(values), 25).astype(int))
    so_far = np.maximum.accumulate(values)[counts - 1]
    expected = [typical_largest(law, int(count)) for count in counts]
    return [Line.of(name, so_far, counts), Line.of(name, expected, counts, predicted=True)]


def _histograms(values: dict[str, npt.NDArray[Any]]) -> Ridges:
    histograms = []
    for drawn in values.values():
        counts, edges = np.histogram(drawn, _BINS)
        histograms.append(tuple(numbers(b) for b in zip(edges, edges[1:], counts, strict=False)))
    return Ridges("Weights drawn", "weight", tuple(values), tuple(histograms))
