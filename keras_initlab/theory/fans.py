"""Fan-in and fan-out of a weight, from its shape and its declared axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["WeightAxes", "fans", "weight_axes"]


class WeightAxes(NamedTuple):
    """What each axis of a weight is; every axis is in one of the four, counted from the front and in order."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    batch: tuple[int, ...]
    receptive: tuple[int, ...]


def fans(
    shape: Sequence[int],
    input_axes: Iterable[int] | None = None,
    output_axes: Iterable[int] | None = None,
    batch_axes: Iterable[int] = (),
    *,
    groups: int = 1,
    strides: int | Sequence[int] = 1,
    transposed: bool = False,
) -> tuple[float, float]:
    """Count the inputs that feed one output unit, and the outputs that one input unit feeds.

    With ``I``, ``O`` and ``R`` the products of the sizes of the input axes, the output axes and the receptive field,
    g groups and S the product of the strides::

        fan_in = R · I           fan_out = R · O / (g · S)
        fan_in = R · I / S       fan_out = R · O / g            of a transposed convolution

    Args:
        shape: Sizes of the weight's axes, each at least 0. A zero-size axis gives a fan of 0.
        input_axes: Axes along which inputs are summed; see ``weight_axes``.
        output_axes: Axes along which output units are laid out.
        batch_axes: Axes along which whole weights are stacked, such as the channels of a depthwise kernel. They count
            in neither fan.
        groups: Number of groups of a convolution, at least 1 (the default). The input axis of such a kernel holds one
            group's channels, its output axis those of all groups.
        strides: Steps of a convolution, one or one for each spatial axis, each at least 1 (the default). A stride s
            leaves an input one in s of the outputs that its kernel would reach. The mean over the positions, exact for
            each where s divides the kernel's size.
        transposed: Whether the convolution is transposed: then it is an output that is reached by one in s of the
            kernel's taps. Default False.

    Returns:
        ``(fan_in, fan_out)``: whole numbers as int, broken ones as float.

    Raises:
        ValueError: An axis is out of range, named twice, or in two of the lists; ``groups`` does not divide the
            outputs; ``groups`` or a stride is below 1.

    Reference:
        Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward neural networks, section
        4.2.1, where n_i and n_{i+1} are the two fans; He et al. (2015), Delving deep into rectifiers, section 2.2,
        where n_l = k²c is the fan-in of a convolution.

    Example:
        >>> fans((3, 3, 16, 32))
        (144, 288)
        >>> fans((8, 4, 64), input_axes=(2,))  # projection back from 4 heads: the other two axes are the output
        (64, 32)
        >>> fans((5, 5, 7), input_axes=(0,), output_axes=(-1,))  # the axis in the middle is the receptive field
        (25, 35)
        >>> fans((3, 3, 64, 2), batch_axes=(-2,))  # depthwise, two filters for each channel
        (9, 18)
        >>> fans((4, 4, 256, 64), (-1,), (-2,), strides=2, transposed=True)  # 64 channels to 256, kernel 4
        (256, 4096)
    """
    shape = tuple(int(size) for size in shape)
    axes = weight_axes(shape, input_axes, output_axes, batch_axes)
    inputs, outputs, _, receptive = (math.prod(shape[axis] for axis in kind) for kind in axes)
    step = math.prod((strides,) * len(axes.receptive) if isinstance(strides, int) else strides)
    if groups < 1 or step < 1:
        raise ValueError(
            f"Arguments `groups` and `strides` must be at least 1. Received: groups={groups}, strides={strides}. "
            "Pass those of the layer."
        )
    if outputs % groups:
        raise ValueError(
            f"Argument `groups` must divide the {outputs} outputs of shape {shape}. Received: groups={groups}. "
            "The output axis of a grouped kernel holds the filters of all groups."
        )
    fan_in, fan_out = receptive * inputs, receptive * outputs // groups
    return (_divided(fan_in, step), fan_out) if transposed else (fan_in, _divided(fan_out, step))


def weight_axes(
    shape: Sequence[int],
    input_axes: Iterable[int] | None = None,
    output_axes: Iterable[int] | None = None,
    batch_axes: Iterable[int] = (),
) -> WeightAxes:
    """Say what each axis of a weight is.

    Args:
        shape: Sizes of the weight's axes.
        input_axes: Axes along which inputs are summed. Negative axes count from the end. None (the default) stands
            for "what is left" when ``output_axes`` is declared, and for Keras's convention when neither is.
        output_axes: Axes along which output units are laid out; None likewise.
        batch_axes: Axes along which whole weights are stacked. Default: none.

    Axes in none of the lists are the receptive field. Without declared axes the convention is Keras's: a scalar has
    none, the one axis of a vector is input and output, and from rank 2 on the last axis is the output, the one before
    it the input, all others are the receptive field; a batch axis keeps none of these parts. That is right for Dense
    and ordinary convolution kernels, and with ``batch_axes=(-2,)`` for depthwise ones; it is wrong for transposed and
    fused kernels, whose axes have to be declared.

    Returns:
        The four kinds.

    Raises:
        ValueError: An axis is out of range, named twice, or in two of the lists.

    Example:
        >>> weight_axes((3, 3, 16, 32))
        WeightAxes(inputs=(2,), outputs=(3,), batch=(), receptive=(0, 1))
    """
    shape, batch_axes = tuple(shape), tuple(batch_axes)
    batch = _resolve("batch_axes", batch_axes, shape)
    left = [axis for axis in range(len(shape)) if axis not in batch]
    if input_axes is None and output_axes is None:
        everything = tuple(range(len(shape)))
        inputs, outputs = (set(axes) - batch for axes in (everything[-2:-1] or everything, everything[-1:]))
    else:
        named_in = None if input_axes is None else _resolve("input_axes", input_axes := tuple(input_axes), shape)
        named_out = None if output_axes is None else _resolve("output_axes", output_axes := tuple(output_axes), shape)
        inputs = set(left) - (named_out or set()) if named_in is None else named_in
        outputs = set(left) - inputs if named_out is None else named_out
        if shared := sorted((inputs & outputs) | (inputs & batch) | (outputs & batch)):
            raise ValueError(
                "Arguments `input_axes`, `output_axes` and `batch_axes` must not share an axis. "
                f"Received: input_axes={input_axes}, output_axes={output_axes}, batch_axes={batch_axes}, "
                f"which share {shared} in shape {shape}. "
                "Declare an axis that is none of the three (a receptive field) by leaving it out of all."
            )
    receptive = set(left) - inputs - outputs
    return WeightAxes(*(tuple(sorted(kind)) for kind in (inputs, outputs, batch, receptive)))


def _divided(fan: int, step: int) -> float:
    return fan // step if fan % step == 0 else fan / step


def _resolve(name: str, axes: Iterable[int], shape: tuple[int, ...]) -> set[int]:
    """Turn declared axes into a set of axes counted from the front."""
    axes, rank = tuple(axes), len(shape)
    for axis in axes:
        if not -rank <= axis < rank:
            raise ValueError(
                f"Argument `{name}` must name axes from {-rank} to {rank - 1} for shape {shape}. "
                f"Received: {name}={axes}, of which {axis} is out of range."
                if rank
                else f"Argument `{name}` must be empty for a scalar, which has no axes. Received: {name}={axes}."
            )
    resolved = {axis % rank for axis in axes}
    if len(resolved) < len(axes):
        raise ValueError(
            f"Argument `{name}` must name each axis once. Received: {name}={axes} for shape {shape}. "
            "Remove the one named twice (a negative axis counts from the end)."
        )
    return resolved
