"""One call that draws the weights of a whole model again, in place."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_initlab.initializers.seeds import Seed, fold
from keras_initlab.model_init.graph import check_built
from keras_initlab.model_init.laws import Law, key_of
from keras_initlab.model_init.optimizers import reset
from keras_initlab.model_init.places import PlacedWeight, placed_weights
from keras_initlab.model_init.report import Report
from keras_initlab.model_init.roles import LEFT_ALONE, Role
from keras_initlab.model_init.schemes import scheme_of
from keras_initlab.theory import weight_axes

__all__ = ["reinitialize"]

_COLUMNS = ("weight", "role", "shape", "fan_in", "fan_out", "law", "target", "std", "note")
_OPTIMIZER = ("reset", "keep")
Only = str | re.Pattern[str] | Callable[[PlacedWeight], bool] | None


def reinitialize(
    model: Any, scheme: Any = "configured", *, seed: Any = 0, only: Only = None, optimizer: str = "reset"
) -> Report:
    """Draw a built model's weights again, in place.

    The variables stay the same objects, so compiled functions stay compiled. Each weight has a seed of its own, made
    from ``seed`` and its place in the model (see ``placed_weights``): the same architecture gets the same weights in
    any process, and a layer more leaves the others' draws as they were (under ``"auto"`` and ``"analytic"`` their scale
    may follow the graph). All is drawn before anything is assigned.

    Schemes, for kernels; what they do not name is drawn by the layer's own initializer:

    - ``"configured"``: each layer's own initializer, with the fans, axes and gates that its weight really has.
    - ``"he"``, ``"glorot"``, ``"lecun"``, ``"orthogonal"``, or any initializer (or its name): this law, likewise.
    - ``"auto"``: orthogonal, ``E w² = g² / fan_in`` with the gain g of the activation that comes after the weight in
      the model, divided by √L in each of L residual sums in a row, and by √k before a sum of k branches with weights.
      What a zero-padded convolution loses at its borders is made up for. Many smooth activations in a row get a
      smaller signal, and biases that remove its mean (see ``working_point``). Recurrent kernels are orthogonal gate by
      gate, an LSTM's forget bias is 1 where its bias is zero, and an embedding of dimension d has variance 1/d.
    - ``"analytic"``: as ``"auto"``, but each kernel gives its layer's output, before the activation, a predicted
      variance of 1 (see ``propagate``), and gate biases remember over as many steps as the input has.

    Biases, scales, offsets and moving statistics go back to their start. Quantized weights, weights under low-rank
    adaptation and statistics of data that a layer was adapted to are left alone, and the report says so.

    Args:
        model: A built Keras model.
        scheme: One of the above. Default ``"configured"``: what the model's author chose.
        seed: An integer, a ``PortableSeed`` (on every backend the same bits of laws of this package, orthogonal weights
            to 1e-6), a ``keras.random.SeedGenerator``, which advances, or None for the system's entropy. Default 0.
        only: Which weights to draw: a regular expression searched for in the weight's place, or a callable that takes
            a ``PlacedWeight``; None (default) for all.
        optimizer: ``"reset"`` (default) puts the slots of these weights in the compiled optimizer back to their start,
            and its step count if that is all it trains: momentum of other weights would be wrong. ``"keep"`` leaves
            them.

    Returns:
        A ``Report`` with a row for each weight: role, shape, fans, law, target and drawn standard deviation.

    Raises:
        TypeError: ``seed`` is of the wrong kind.
        ValueError: The model is not built or has no weights, an argument is not allowed, ``only`` chooses nothing, or
            an initializer refuses its weight. Then no weight has changed.

    Reference:
        He et al. (2015), Delving deep into rectifiers, section 2.2, for gains; Poole et al. (2016), Exponential
        expressivity in deep neural networks through transient chaos, for the edge of chaos.

    Example:
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(1)])
        >>> report = reinitialize(model, "auto", seed=7)
        >>> report["dense/kernel"]["law"], round(report["dense/kernel"]["target"], 6)
        ('Orthogonal, gain 1.414 for relu', 0.176777)
    """
    check_built(model)
    seed = _seed(seed)
    if optimizer not in _OPTIMIZER:
        raise ValueError(
            f'Argument `optimizer` must be "reset" or "keep". Received: optimizer={optimizer!r}. '
            '"reset" forgets the momentum of the old weights.'
        )
    weights = chosen(model, only)
    law_of = scheme_of(scheme, model)
    drawn = [(weight, *_draw(weight, law_of, seed)) for weight in weights]
    kernels = _kernels(model, drawn)
    drawn = [(weight, law, _without_mean(weight, law, value, kernels)) for weight, law, value in drawn]
    _assign(
        [(weight.variable, value) for weight, _, value in drawn if value is not None],
        getattr(model, "optimizer", None) if optimizer == "reset" else None,
    )
    name = scheme if isinstance(scheme, str) else getattr(scheme, "__name__", type(scheme).__name__)
    rows = [_row(*each) for each in drawn]
    return Report(f"{model.name} drawn again: {name}", _COLUMNS, rows, getattr(law_of, "notes", ()))


def chosen(model: Any, only: Only) -> list[PlacedWeight]:
    """The weights of a model that a filter chooses.

    Raises:
        ValueError: The model has no weights, the filter is none, or it chooses nothing.
    """
    weights = placed_weights(model)
    if not weights:
        raise ValueError(f"Argument `model` must have weights. Received: {model.name!r}, which has none.")
    if only is None:
        return weights
    if isinstance(only, (str, re.Pattern)):
        try:
            pattern = re.compile(only)
        except re.error as error:
            raise ValueError(f"Argument `only` must be a regular expression. Received: {only!r}: {error}.") from error
        found = [weight for weight in weights if pattern.search(weight.place)]
    elif callable(only):
        found = [weight for weight in weights if only(weight)]
    else:
        raise ValueError(f"Argument `only` must be a regular expression, a callable or None. Received: only={only!r}.")
    if not found:
        names = ", ".join(weight.place for weight in weights)
        raise ValueError(f"Argument `only` chooses none of the weights. Received: only={only!r}. There are: {names}.")
    return found


def _seed(seed: Any) -> Any:
    """A seed that parts can be made from: one number of a generator, or of the system's entropy."""
    seed = Seed().check("seed", seed)
    if seed is None:
        return secrets.randbelow(2**32)
    if isinstance(seed, keras.random.SeedGenerator):
        # Its first number stays; the second counts.
        start, count = (int(number) % 2**32 for number in keras.ops.convert_to_numpy(seed.next()))
        return fold(start, count)
    return seed


def _draw(weight: PlacedWeight, law_of: Callable[[PlacedWeight], Law | None], seed: Any) -> tuple[Law | None, Any]:
    """The law and the value of a weight; None for both where it is left alone."""
    if weight.role.kind in LEFT_ALONE:
        return None, None
    law, shape = law_of(weight), tuple(weight.variable.shape)
    if law is None:
        return None, None
    law = law.keyed(key_of(seed, weight.place))
    try:
        drawn = law.initializer(shape, dtype=weight.variable.dtype)
        value = keras.ops.convert_to_tensor(drawn, dtype=weight.variable.dtype)
    # Whatever an initializer of the user's raises, which of the weights it was drawing has to be told.
    except Exception as error:
        raise ValueError(
            f"The law of {weight.place!r} ({law.name}) cannot draw its shape {shape}: {str(error).rstrip('.')}. "
            "No weight has changed."
        ) from error
    finite = bool(keras.ops.all(keras.ops.isfinite(value)))
    if tuple(value.shape) != shape or not finite:
        raise ValueError(
            f"The law of {weight.place!r} ({law.name}) must give finite values of shape {shape}. Received: "
            f"{'' if finite else 'NaN or infinity in '}shape {tuple(value.shape)}. Mend the initializer; no weight has "
            "changed."
        )
    return law, value


def _kernels(model: Any, drawn: list[tuple[PlacedWeight, Law | None, Any]]) -> dict[int, tuple[Role, Any]]:
    """The kernel that each layer is going to have, by ``id`` of the layer."""
    values = {id(weight.variable): value for weight, _, value in drawn if value is not None}
    return {
        id(weight.layer): (weight.role, values.get(id(weight.variable), weight.variable))
        for weight in placed_weights(model)
        if weight.role.kind == "kernel"
    }


def _without_mean(weight: PlacedWeight, law: Law | None, bias: Any, kernels: dict[int, tuple[Role, Any]]) -> Any:
    """A bias that takes off what the mean of the layer's input would add to each unit."""
    if law is None or not law.less:
        return bias
    role, kernel = kernels[id(weight.layer)]
    axes = weight_axes(tuple(kernel.shape), role.input_axes, role.output_axes, role.batch_axes)
    total = keras.ops.sum(kernel, axis=axes.inputs + axes.receptive)
    return bias - law.less * keras.ops.cast(keras.ops.reshape(total, bias.shape), bias.dtype)


def _assign(new: list[tuple[Any, Any]], optimizer: Any) -> None:
    """Give variables their values and an optimizer its start; the old values again if one of them fails."""
    before = [keras.ops.copy(keras.ops.convert_to_tensor(variable)) for variable, _ in new]
    try:
        for variable, value in new:
            variable.assign(value)
        if optimizer is not None:
            reset(optimizer, [variable for variable, _ in new])
    except Exception:
        for (variable, _), value in zip(new, before, strict=True):
            variable.assign(value)
        raise


def _row(weight: PlacedWeight, law: Law | None, value: Any) -> dict[str, Any]:
    shape = tuple(weight.variable.shape)
    fan_in, fan_out = weight.role.fans(shape) or (None, None)
    left = "left as it was: no initializer is known" if law is None else ""
    return {
        "weight": weight.place,
        "role": weight.role.kind,
        "shape": shape,
        "fan_in": fan_in,
        "fan_out": fan_out,
        "law": None if law is None else law.name,
        "target": None if law is None else law.target,
        "std": None if value is None else float(np.std(keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")))),
        "note": weight.role.note or left or None,
    }
