"""An optimizer's memory of the weights it has moved."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras

__all__ = ["reset"]


def reset(optimizer: Any, weights: Collection[Any]) -> None:
    """Put an optimizer's slots of some weights back to their start, and its steps if these are all it trains.

    The start is that of an optimizer made anew from the same configuration: zeros for most slots, and not for all. A
    running average of the weights starts at the weights, as it does at an optimizer's first step.

    Args:
        optimizer: A Keras optimizer; one that is not built has nothing to put back.
        weights: The variables.
    """
    if not getattr(optimizer, "built", False):
        return
    if hasattr(optimizer, "_inner_optimizers"):  # MultiOptimizer
        for each in optimizer._inner_optimizers:
            reset(each, weights)
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    trained, chosen = list(inner._trainable_variables), {id(weight) for weight in weights}
    fresh = type(optimizer).from_config(optimizer.get_config())
    fresh.build(trained)
    if all(id(weight) in chosen for weight in trained):
        pairs = zip(optimizer.variables, fresh.variables, strict=True)
        averages: list[Any] = []
    else:
        pairs = zip(*(_slots(each, trained, chosen) for each in (optimizer, fresh)), strict=True)
        averages = getattr(inner, "_model_variables_moving_average", [])
    for old, new in pairs:
        if old is not inner._learning_rate:
            old.assign(new)
    for average, weight in zip(averages, trained, strict=False):
        if id(weight) in chosen:
            average.assign(weight)


def _slots(optimizer: Any, trained: list[Any], chosen: Collection[int]) -> list[Any]:
    """Variables that an optimizer keeps for the chosen weights: one list for each kind of slot."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    lists = [
        each
        for name, each in sorted(vars(inner).items())
        if name not in ("_trainable_variables", "_variables") and isinstance(each, list) and len(each) == len(trained)
    ]
    return [
        slot
        for each in lists
        for slot, weight in zip(each, trained, strict=True)
        if id(weight) in chosen and isinstance(slot, keras.Variable)
    ]
