"""Expectation against measurement: a number, and the interval in which theory or the paper says that it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """What was expected of one number, and what was measured.

    Attributes:
        what: what is measured, as a short phrase.
        measured: the number.
        low: least value that agrees with the expectation.
        high: largest value that does.
        expected: the value itself, where theory names one.
    """

    what: str
    measured: float
    low: float = -math.inf
    high: float = math.inf
    expected: float | None = None

    @classmethod
    def equal(cls, what: str, measured: float, expected: float, tolerance: float = 0.0) -> Check:
        """A number that is to be `expected`, give or take `tolerance`."""
        expected = float(expected)
        return cls(what, float(measured), expected - tolerance, expected + tolerance, expected)

    @classmethod
    def within_factor(cls, what: str, measured: float, expected: float, factor: float) -> Check:
        """A positive number that is to be `expected` up to a factor above 1 in either direction."""
        expected = float(expected)
        return cls(what, float(measured), expected / factor, expected * factor, expected)

    @classmethod
    def at_least(cls, what: str, measured: float, low: float) -> Check:
        """A number that is to be no less than `low`."""
        return cls(what, float(measured), low=float(low))

    @classmethod
    def at_most(cls, what: str, measured: float, high: float) -> Check:
        """A number that is to be no more than `high`."""
        return cls(what, float(measured), high=float(high))

    @property
    def holds(self) -> bool:
        """Whether what was measured is what was expected; what is not a number never is."""
        return bool(self.low <= self.measured <= self.high)

    @property
    def expectation(self) -> str:
        """The expectation in a table's cell: `0.213 ± 0.01`, `29 (28 … 29)`, `≥ 0.8`."""
        if self.expected is None:
            if math.isfinite(self.low) and math.isfinite(self.high):
                return f"{_short(self.low)} … {_short(self.high)}"
            bounds = ((self.low, "≥"), (self.high, "≤"))
            return " and ".join(f"{sign} {_short(bound)}" for bound, sign in bounds if math.isfinite(bound))
        below, above = self.expected - self.low, self.high - self.expected
        if not above and not below:
            return _short(self.expected)
        if math.isclose(below, above, rel_tol=1e-6):
            return f"{_short(self.expected)} ± {above:.2g}"
        if self.low > 0 and math.isclose(self.high / self.expected, self.expected / self.low, rel_tol=1e-6):
            # Two digits of what it differs from 1 by, so that a narrow one is not told as 1.
            factor = 1 + float(f"{self.high / self.expected - 1:.2g}")
            return f"{_short(self.expected)} (× or ÷ {factor:.10g})"
        return f"{_short(self.expected)} ({_short(self.low)} … {_short(self.high)})"

    @property
    def verdict(self) -> str:
        """The last cell of the table."""
        return "as expected" if self.holds else "NOT as expected"


def _short(value: float) -> str:
    return f"{value:.4g}"
