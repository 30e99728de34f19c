"""Means over two correlated normal variables, of what is made from one activation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from keras_initlab.theory.activations import Scalar
from keras_initlab.theory.chebyshev import INTEGRALS, coefficients, points

__all__ = ["pair_mean"]

Array = NDArray[np.float64]
Map = Callable[[Array], Array]

# Beyond 10 standard deviations lies 1e-23 of the law. Six panels of 16 nodes resolve its density.
_REACH = 10.0
_STEPS: Array = np.linspace(-_REACH, _REACH, 7)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
# A panel is resolved at the first. Below the second, relative to the panel's own values, it is halved only as long as
# that pays at least like a kink, by nearly two: rounding does not shrink.
_RESOLVED, _NOISE, _PAYS = 1e-12, 1e-7, 1.8
_MOST_PANELS = 4096
# Octaves out to which an activation is looked at piece by piece; further out, its kinks cut it.
_FURTHEST = 10


def pair_mean(f: Callable[[Array, Array], Array], activation: Scalar, q: float, gap: float) -> float:
    """Mean over two correlated normal variables of variance q.

    ``E f(u, v)`` with Var u = Var v = q and Cov(u, v) = c·q

    With the sign of c, ``u = i + o`` and ``v = ±(i − o)``, where i and o are independent and have the variances
    q(1 + |c|)/2 and q(1 − |c|)/2. Given o, the kinks in i are known and the inner mean is split there, so it loses
    nothing to them however close c is to ±1. It is smooth in o except where two kinks meet.

    Args:
        f: Symmetric in its two arguments, and a product of two functions that are smooth where the activation is, or
            a sum of such products.
        activation: Where f comes from: it gives the kinks and the panels.
        q: Variance, above 0.
        gap: 1 − c, from 0 to 2. It is given in place of c so that no digit is lost next to 1.

    Returns:
        The mean, to about 1e-12 of E |f|. A kink that is not named costs up to 1e-9, values that are rounded to
        float32 cost up to 1e-7.

    Example:
        >>> from keras_initlab.theory.activations import scalar
        >>> relu = scalar("relu")
        >>> angle = math.pi / 3
        >>> mean = pair_mean(lambda u, v: relu.function(u) * relu.function(v), relu, 1.0, 1 - math.cos(angle))
        >>> closed_form = (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / (2 * math.pi)
        >>> round(mean - closed_form, 12) + 0.0
        0.0
    """
    sign = 1.0 if gap <= 1 else -1.0
    half = min(gap, 2 - gap) / 2
    inner, outer = math.sqrt(q * (1 - half)), math.sqrt(q * half)
    panels, kinks = _panels(activation, math.sqrt(q)), np.asarray(activation.kinks, "float64")

    def over_inner(o: Array) -> Array:
        o = o[..., None]
        i, weights = _rule(np.concatenate([panels - o, o + sign * panels], axis=-1), inner)
        return np.asarray((weights * f(i + o, sign * (i - o))).sum(axis=-1))

    if outer == 0:
        return float(over_inner(np.zeros(1))[0])
    meetings = (kinks[:, None] - sign * kinks).ravel() / (2 * outer)
    edges = np.unique(np.concatenate([_STEPS, meetings[np.abs(meetings) < _REACH]]))
    # For c >= 0 the sign of o only swaps u and v.
    edges, copies = (edges[edges >= 0], 2) if sign > 0 else (edges, 1)
    left, right, values = _resolve(lambda z: over_inner(outer * z) * _density(z), edges)
    return copies * float((right - left) @ (values @ INTEGRALS))


def _density(z: Array) -> Array:
    return np.asarray(np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))


def _rule(breaks: Array, std: float) -> tuple[Array, Array]:
    """Nodes and weights of a normal law on panels that end at the breaks; each row of breaks has its own."""
    steps = np.broadcast_to(_STEPS, (*breaks.shape[:-1], _STEPS.size))
    edges = np.sort(np.concatenate([np.clip(breaks / std, -_REACH, _REACH), steps], axis=-1), axis=-1)
    half = np.diff(edges)[..., None] / 2
    z = ((edges[..., :-1, None] + half) + half * _NODES).reshape(*breaks.shape[:-1], -1)
    return z * std, (half * _WEIGHTS).reshape(z.shape) * _density(z)


def _panels(activation: Scalar, std: float) -> Array:
    """Ends of panels that resolve the activation, as far out as two variables of this standard deviation reach."""
    octave = max(0, math.ceil(math.log2(math.sqrt(2) * _REACH * std)))
    return _cached_panels(activation.function, tuple(activation.kinks), octave)


@functools.lru_cache(maxsize=512)
def _cached_panels(function: Map, kinks: tuple[float, ...], octave: int) -> Array:
    radius = 2.0**octave
    powers = np.append(2.0 ** np.arange(0, min(octave, _FURTHEST), 2), radius)
    edges = np.concatenate([-powers, [0.0], powers, [kink for kink in kinks if abs(kink) < radius]])
    # The square, since it is products that are integrated: they want up to twice the degree.
    left, right, _ = _resolve(lambda h: function(h) ** 2, np.unique(edges))
    return np.union1d(left, right)


def _resolve(f: Map, edges: Array) -> tuple[Array, Array, Array]:
    """Halve the panels between the edges until a polynomial follows f on each; return their ends and f's values."""
    left, right = edges[:-1], edges[1:]
    before = np.full(left.size, np.inf)
    finished: list[tuple[Array, Array, Array]] = []
    unit, count = 0.0, 0
    while left.size:
        values = f(points(left, right))
        sizes, unresolved = np.abs(values).max(axis=1), np.abs(coefficients(values)[:, -3:]).max(axis=1)
        if not finished:
            unit = sizes[(left <= 1) & (right >= -1)].max()
        open_ = unresolved > _RESOLVED * np.maximum(sizes, unit)
        open_ &= (unresolved > _NOISE * sizes) | (unresolved < before / _PAYS)
        count += left.size
        open_ &= count < _MOST_PANELS
        finished.append((left[~open_], right[~open_], values[~open_]))
        middle, before = (left[open_] + right[open_]) / 2, np.tile(unresolved[open_], 2)
        left, right = np.concatenate([left[open_], middle]), np.concatenate([middle, right[open_]])
    lefts, rights, kept = zip(*finished, strict=True)
    return np.concatenate(lefts), np.concatenate(rights), np.concatenate(kept)
