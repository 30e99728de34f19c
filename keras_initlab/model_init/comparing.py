"""What was predicted beside what was measured, layer by layer."""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING, Any

from keras_initlab.model_init.report import Report

if TYPE_CHECKING:
    from keras_initlab.statistics import Profile

__all__ = ["compare"]

_ROUNDING = 1e-12
_Key = tuple[str, str | None]
_Rows = dict[_Key, dict[str, Any]]


def compare(predicted: Profile, measured: Profile, *, names: tuple[str, str] = ("predicted", "measured")) -> Report:
    """Lays two Profiles of a network side by side, by depth.

    It is Glorot and Bengio's argument as a table. Forward, a layer multiplies the variance of its input by
    ``n_in · Var W``, and backward the gradient's by ``n_out · Var W``: what is above 1 layer after layer explodes, what
    is below 1 vanishes. Beside both factors stand the standard deviations that were predicted from them and measured.

    Args:
        predicted: As ``propagate`` returns it. Any Profile may be compared with any other, such as two measured ones.
        measured: As ``observe`` returns it; with targets it has gradients too.
        names: What to call the two in the columns. Default ``("predicted", "measured")``.

    Returns:
        A Report with a row for each layer in both, in the order of the first, and the columns

        - ``layer``, and ``output`` where a layer has several;
        - ``n_in·Var(W)`` and ``n_out·Var(W)`` of layers with one kernel, if one of the Profiles is predicted;
        - ``predicted std``, ``measured std`` and ``std ratio``, the second over the first; both ``mean``;
        - ``predicted gradient``, ``measured gradient`` and ``gradient ratio``: root mean squares of the gradients of
          the outputs. Predicted ones are relative to the network's outputs, so that the measured ones are multiplied by
          what makes the two agree at the last layer that has both. The notes say the factor.

        Layers in only one of the two are in the notes, and so are the notes of both.

    Raises:
        TypeError: One of the two is no Profile, or ``names`` are no two different strings.
        ValueError: They have no layer in common.

    Reference:
        Glorot, X. and Bengio, Y. (2010). Understanding the difficulty of training deep feedforward neural networks.
        Section 4.2.1.

    Example:
        >>> import keras_initlab as kil
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, name="head")], name="net")
        >>> x = np.random.default_rng(0).normal(size=(512, 64)).astype("float32")
        >>> report = kil.compare(kil.propagate(model), kil.observe(model, x))
        >>> abs(report["net/head"]["std ratio"] - 1) < 0.05
        True
    """
    _check(predicted, measured, names)
    first, second = names
    ours, theirs = (_by_quantity(profile) for profile in (predicted, measured))
    common = [key for key in ours["activation"] if key in theirs["activation"]]
    if not common:
        raise ValueError(
            "Arguments `predicted` and `measured` must be Profiles of one network: they have no layer in common. "
            f"Received: layers {_listed(ours['activation'])} and {_listed(theirs['activation'])}. "
            "Compare Profiles of the same model."
        )
    factor, last = _gradient_factor(ours["activation_gradient"], theirs["activation_gradient"])
    growth = _growth(predicted, measured)
    rows = []
    for key in common:
        a, b = ours["activation"][key], theirs["activation"][key]
        gradients = [side["activation_gradient"].get(key, {}).get("rms") for side in (ours, theirs)]
        back, seen = gradients[0], None if gradients[1] is None or factor is None else gradients[1] * factor
        n_in, n_out = growth.get(key[0], (None, None))
        rows.append(
            {
                "layer": key[0],
                "output": key[1],
                "n_in·Var(W)": n_in,
                f"{first} std": a["std"],
                f"{second} std": b["std"],
                "std ratio": _ratio(b["std"], a["std"]),
                f"{first} mean": _mean(a),
                f"{second} mean": _mean(b),
                "n_out·Var(W)": n_out,
                f"{first} gradient": back,
                f"{second} gradient": seen,
                "gradient ratio": _ratio(seen, back),
            }
        )
    notes = [*_missing(ours["activation"], theirs["activation"], names), *_said(predicted, measured)]
    if last is not None:
        notes.insert(0, f"The gradients {second} are multiplied by {factor:.4g}, so that both agree at {last}.")
    return Report(f"{first} and {second}", list(rows[0]), rows, notes)


def _check(predicted: Any, measured: Any, names: Any) -> None:
    from keras_initlab.statistics import Profile

    for argument, profile in (("predicted", predicted), ("measured", measured)):
        if not isinstance(profile, Profile):
            raise TypeError(
                f"Argument `{argument}` must be a Profile. Received: {argument}={profile!r} of type "
                f"{type(profile).__name__}. Call propagate(model) or observe(model, x)."
            )
    two = isinstance(names, (tuple, list)) and len(names) == 2 and all(isinstance(name, str) for name in names)
    if not two or names[0] == names[1]:
        raise TypeError(f"Argument `names` must be two different strings. Received: names={names!r}.")


def _by_quantity(profile: Profile) -> dict[str, _Rows]:
    """Rows of each quantity by layer and output, in order of depth."""
    found: dict[str, _Rows] = collections.defaultdict(dict)
    for row in sorted(profile.scalar_rows(), key=lambda row: row["depth"]):
        found[row["quantity"]][row["layer"], row["variable"]] = row
    return found


def _gradient_factor(ours: _Rows, theirs: _Rows) -> tuple[float | None, str | None]:
    """What makes the second's gradients those of the first at the last layer that has both, and that layer."""
    for key in reversed(ours):
        if key in theirs and theirs[key]["rms"]:
            return ours[key]["rms"] / theirs[key]["rms"], key[0]
    return None, None


def _growth(predicted: Profile, measured: Profile) -> dict[str, tuple[float, float]]:
    """``n_in · Var W`` and ``n_out · Var W`` of the layers that have one kernel."""
    fans = {**measured.fans, **predicted.fans}
    found: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
    for row in predicted.scalar_rows():
        if row["quantity"] == "weight" and (row["layer"], row["variable"]) in fans:
            n_in, n_out = fans[row["layer"], row["variable"]]
            found[row["layer"]].append((n_in * row["std"] ** 2, n_out * row["std"] ** 2))
    return {layer: factors[0] for layer, factors in found.items() if len(factors) == 1}


def _mean(row: dict[str, Any]) -> float | None:
    """What is left of a sum that is 0 is no mean."""
    return 0.0 if row["mean"] is not None and abs(row["mean"]) < _ROUNDING * row["rms"] else row["mean"]


def _ratio(value: float | None, reference: float | None) -> float | None:
    if value is None or reference is None or not reference or not math.isfinite(value):
        return None
    return value / reference


def _missing(ours: _Rows, theirs: _Rows, names: tuple[str, str]) -> list[str]:
    pairs = ((names[0], ours, theirs), (names[1], theirs, ours))
    alone = {name: {key: row for key, row in rows.items() if key not in others} for name, rows, others in pairs}
    return [f"Only {name}: {_listed(rows)}." for name, rows in alone.items() if rows]


def _listed(rows: _Rows) -> str:
    return ", ".join(dict.fromkeys(layer for layer, _ in rows)) or "none"


def _said(*profiles: Profile) -> list[str]:
    return [f"{layer}: {note}." for profile in profiles for layer, note in profile.notes.items()]
