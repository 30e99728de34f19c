"""Computations beside a training step that leave no trace in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


class CannotMeasureError(Exception):
    """Why something is not measured."""


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of tensors where TensorFlow's graph optimizer cannot merge it with the training step.

    What both compute would be computed once, and what was fused no longer: that changes the rounding of the step.
    """
    return function(*arguments) if tf.executing_eagerly() else _kept_whole(function)(*arguments)


def model_apart(model: Any, function: Callable[[Any], Any], data: Any) -> Any:
    """Calls a function of a batch that runs the model, and changes none of its variables.

    Raises:
        CannotMeasureError: the model cannot be run like this.
    """

    def stateless(data: Any) -> Any:
        # Whatever Keras assigns in here is kept in the scope, and goes with it.
        with keras.StatelessScope(collect_losses=True):
            return function(data)

    try:
        if tf.executing_eagerly():
            return stateless(data)
        compiled = _kept_whole(stateless)
        known = {id(v.value) for v in [*model.variables, *model.metrics_variables]}
        foreign = [v for v in compiled.get_concrete_function(data).graph.variables if id(v) not in known]
        return (_kept_whole(_putting_back(stateless, foreign)) if foreign else compiled)(data)
    except CannotMeasureError:
        raise
    except Exception as error:  # of the model's own code, which was not written for this
        first_line = next(iter(str(error).strip().splitlines()), "")
        raise CannotMeasureError(f"{type(error).__name__}: {first_line}") from error


def _kept_whole(function: Callable[..., Any]) -> Any:
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def _putting_back(function: Callable[[Any], Any], variables: list[Any]) -> Callable[[Any], Any]:
    """A function that leaves variables which are not Keras's as they were."""

    def restoring(data: Any) -> Any:
        before = [variable.read_value() for variable in variables]
        result = function(data)
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        return result

    return restoring
