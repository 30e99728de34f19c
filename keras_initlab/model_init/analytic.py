"""Moments of every layer predicted from the graph of a model alone, and kernels chosen by them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Graph, Value, trace
from keras_initlab.model_init.moments.propagation import UNKNOWN_SIZE, Propagation, no_moments, sizes_of
from keras_initlab.model_init.moments.rules import Moments, Weights, using
from keras_initlab.model_init.places import placed_weights

if TYPE_CHECKING:
    from keras_initlab.statistics import Profile

__all__ = ["propagate", "solve"]

Array = NDArray[np.float64]
Given = float | Array | Sequence[Any] | Mapping[str, Any]


def propagate(model: Any, mean: Given = 0.0, variance: Given = 1.0, *, strict: bool = False) -> Profile:
    """Predicts mean and variance of every layer's output from the model alone, without data.

    Each element of each tensor has a mean and a variance over the examples. Both go through the model's own weights,
    as they are now, in training mode:

    - a linear layer (padding, strides, groups and dilation included): ``μ′ = Wμ + b``, ``v′ = W²v``, with the squares
      of the kernel in W²;
    - an activation: ``E φ(μ + √v z)`` and the variance, z ~ N(0, 1), in closed form or by quadrature;
    - dropout with its mean term, ``v′ = (v + p m²)/(1 − p)``; noise, sums, products, extremes, all that only moves
      elements, and whatever else has a rule.

    Elements are taken as independent, and pre-activations as normal: true of random weights and large widths, with an
    error of the order of one over the square root of the width. So a residual sum ``x + f(x)`` whose f has random
    weights is taken as one of uncorrelated terms; weights that were trained, or an identity, break this. Operands that
    depend on the same values without a weight between them, as in ``x + relu(x)``, are recognised and measured.

    A layer without a rule is measured: normal values with the predicted moments are sent through the layer alone, and
    ``Profile.notes`` says so. No weight, seed or moving statistic changes.

    Args:
        model: A built Keras model.
        mean: Mean of the inputs: a number for all of them, or an array that broadcasts to one example; for several
            inputs a list of these in the model's order, or a dictionary by the inputs' names. Default 0.0. Inputs that
            are indices have no moments: their layers' rules take each index as equally likely.
        variance: Variance of the inputs, likewise; not negative. Default 1.0, standardized data.
        strict: Whether a layer without a rule raises instead of being measured. Default False.

    Returns:
        A Profile with the layer names of ``observe``: `activation` rows with `count` (elements of one example), `mean`,
        `std` and `rms` over elements and examples; `activation_gradient` rows with the `rms` for gradients of rms 1 at
        the model's outputs; and `weight` rows. Other statistics are None. Sizes that the model leaves open are taken
        as 16.

    Raises:
        ValueError: The model is not built, the moments do not fit its inputs, or a layer has no rule and ``strict`` is
            true.

    Reference:
        Bingham, G. and Miikkulainen, R. (2022). AutoInit: analytic signal-preserving weight initialization for neural
        networks. (The idea; per-element moments and exact padding are this library's.)

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> profile = propagate(model, mean=3.0, variance=2.0)
        >>> profile.rows[0]["mean"], round(profile.rows[0]["std"], 12)
        (6.0, 2.0)
    """
    from keras_initlab.model_init.moments.profile import to_profile

    graph = trace(model)
    propagation = Propagation(graph, input_moments(model, graph, mean, variance), strict)
    notes = {}
    if any(None in value.shape[1:] for value in graph.inputs):
        notes["inputs"] = f"sizes that the model leaves open are taken as {UNKNOWN_SIZE}"
    return to_profile(model, propagation, notes)


def solve(model: Any, mean: Given = 0.0, variance: Given = 1.0, target: float = 1.0) -> dict[int, float]:
    """Standard deviations of all kernels that give every pre-activation the target variance.

    In the order of execution, a kernel with elements of mean 0 and variance s² makes of its inputs outputs of mean
    square ``s² Σ (v + m²)``, summed over the fan of each output and averaged over the outputs, so that padding counts
    for what it is. s is chosen to make that the target. Biases are left out. The propagation goes on with weights of
    that s, drawn by a fixed generator, so that later layers see the means that each unit then has. A shared kernel is
    solved for its first call, the two kernels of a separable convolution one after the other. Recurrent kernels and
    embeddings are not solved. The model is left as it is.

    Args:
        model: A built Keras model.
        mean: Mean of the inputs, as in ``propagate``. Default 0.0.
        variance: Their variance, as in ``propagate``. Default 1.0.
        target: Variance of the pre-activations; above 0. Default 1.0.

    Returns:
        The standard deviation for each kernel's variable, by its ``id``.

    Raises:
        ValueError: As in ``propagate``; or the input of a kernel is constantly 0, and no scale helps.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(2)])
        >>> [round(s**2, 3) for s in solve(model).values()]
        [0.125, 0.25]
    """
    if not 0 < target < np.inf:
        raise ValueError(f"Argument `target` must be a finite number above 0. Received: target={target!r}.")
    graph = trace(model)
    drawn = _Drawn({id(weight.variable): weight.place for weight in placed_weights(model)}, target)
    with using(drawn):
        Propagation(graph, input_moments(model, graph, mean, variance))
    return drawn.stddevs


class _Drawn(Weights):
    """Kernels drawn to give the target; all other weights as they are."""

    chosen = True

    def __init__(self, places: dict[int, str], target: float) -> None:
        self.stddevs: dict[int, float] = {}
        self._places, self._target = places, target
        self._values: dict[int, tuple[Any, Array]] = {}

    def value(self, variable: Any) -> Array:
        return self._values[id(variable)][1] if id(variable) in self._values else super().value(variable)

    def replaced(self) -> list[tuple[Any, Array]]:
        return list(self._values.values())

    def kernel(self, variable: Any, mean_square: Callable[[], float]) -> Array:
        key = id(variable)
        if key not in self._values:
            place, square = self._places.get(key, variable.name), mean_square()
            if not 0 < square < np.inf:
                raise ValueError(
                    f"The kernel {place!r} can't be solved: the predicted mean square of its input is {square:.3g}. "
                    "Look at the layers before it with propagate(model)."
                )
            self.stddevs[key] = (self._target / square) ** 0.5
            draws = np.random.default_rng(zlib.crc32(place.encode())).standard_normal(tuple(variable.shape))
            # Of a small kernel the draws' own scatter would go into all that follows.
            self._values[key] = variable, draws * (self.stddevs[key] / (draws**2).mean() ** 0.5)
        return self._values[key][1]


def input_moments(model: Any, graph: Graph, mean: Given, variance: Given) -> dict[Value, Moments]:
    """The moments of a model's inputs.

    Raises:
        ValueError: They do not fit.
    """
    means, variances = (_each(n, given, model, graph) for n, given in (("mean", mean), ("variance", variance)))
    return {value: _of_input(value, m, v) for value, m, v in zip(graph.inputs, means, variances, strict=True)}


def _each(argument: str, given: Given, model: Any, graph: Graph) -> list[Any]:
    """What was given, for each input."""
    count = len(graph.inputs)
    if isinstance(given, Mapping):
        names = [tensor.name for tensor in getattr(model, "inputs", None) or []]
        names = names if set(names) == set(given) else sorted(given)
        parts = [given[name] for name in names]
    elif isinstance(given, (list, tuple)):
        parts = list(given)
    else:
        parts = [given] * count
    if len(parts) != count:
        raise ValueError(
            f"Argument `{argument}` must be one number or array, or have an entry for each of the model's {count} "
            f"inputs. Received: {len(parts)} entries."
        )
    arrays = [np.asarray(0.0 if part is None else part, "float64") for part in parts]
    for array in arrays:
        if not np.isfinite(array).all() or (argument == "variance" and (array < 0).any()):
            allowed = "finite and not negative" if argument == "variance" else "finite"
            raise ValueError(f"Argument `{argument}` must be {allowed}. Received: {argument}={given!r}.")
    return arrays


def _of_input(value: Value, mean: Array, variance: Array) -> Moments:
    shape = sizes_of(value)
    if not keras.backend.is_float_dtype(value.dtype):
        return no_moments(shape)
    try:
        return Moments(*(np.broadcast_to(part, shape).copy() for part in (mean, variance)))
    except ValueError:
        raise ValueError(
            f"Arguments `mean` and `variance` must broadcast to one example, of shape {shape}. "
            f"Received: shapes {mean.shape} and {variance.shape}."
        ) from None
