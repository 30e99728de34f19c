"""A statistic of a Profile against depth, drawn with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from keras_initlab.statistics.profile import Profile

_MAX_NAMES = 40


def plot_over_depth(profile: Profile, statistic: str, quantity: str, ax: Any, line: dict[str, Any]) -> Any:
    """Behind `Profile.plot`; depth runs to the right, and scales that span decades are drawn as decades."""
    names, values = profile.column(statistic, quantity)
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError("Profile.plot needs matplotlib: pip install 'keras_initlab[plot]'.") from error
        ax = plt.subplots(figsize=(8, 4), layout="constrained")[1]
    ax.plot(np.arange(len(values)), values, **{"marker": "o", "markersize": 3, **line})
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive) > 1 and positive.max() > 100 * positive.min() and np.nanmin(values) >= 0:
        ax.set_yscale("log")
    ax.set_ylabel(f"{quantity.replace('_', ' ')}: {statistic}")
    ax.set_title(f"step {profile.step}", loc="left", fontsize="medium")
    if len(names) <= _MAX_NAMES:
        ax.set_xticks(np.arange(len(names)), names, rotation=60, ha="right", fontsize="x-small")
    else:
        ax.set_xlabel("depth")
    ax.grid(alpha=0.3)
    if "label" in line:
        ax.legend()
    return ax
