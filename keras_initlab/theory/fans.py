"""Fan-in and fan-out of a weight, from its shape and its declared axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

__all__ = ["fans"]


def fans(
    shape: Sequence[int], input_axes: Iterable[int] | None = None, output_axes: Iterable[int] | None = None
) -> tuple[int, int]:
    """Count the inputs that feed one output unit, and the outputs that one input unit feeds.

    With ``I``, ``O`` and ``R`` the products of the sizes of the input axes, the output axes and the axes that are
    neither (the receptive field)::

        fan_in = R · I        fan_out = R · O

    Args:
        shape: Sizes of the weight's axes, each at least 0. A zero-size axis gives a fan of 0.
        input_axes: Axes along which inputs are summed. Negative axes count from the end. None (the default) stands
            for "what is left" when ``output_axes`` is declared, and for Keras's convention when neither is.
        output_axes: Axes along which output units are laid out; None likewise.

    Without declared axes the convention is Keras's: rank 0 gives (1, 1), rank 1 gives (n, n), and from rank 2 on the
    last axis is the output, the one before it the input, all others are the receptive field. That is right for Dense
    and ordinary convolution kernels; it is wrong for depthwise, transposed and fused kernels, whose axes have to be
    declared.

    Returns:
        ``(fan_in, fan_out)``, two integers.

    Raises:
        ValueError: An axis is out of range, named twice, or named as both input and output.

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
    """
    shape = tuple(int(size) for size in shape)
    rank = len(shape)
    if input_axes is None and output_axes is None:
        if rank < 2:
            return math.prod(shape), math.prod(shape)
        receptive = math.prod(shape[:-2])
        return receptive * shape[-2], receptive * shape[-1]

    inputs = None if input_axes is None else _resolve("input_axes", input_axes, shape)
    outputs = None if output_axes is None else _resolve("output_axes", output_axes, shape)
    everything = set(range(rank))
    inputs = everything - (outputs or set()) if inputs is None else inputs
    outputs = everything - inputs if outputs is None else outputs
    if shared := sorted(inputs & outputs):
        raise ValueError(
            f"Arguments `input_axes` and `output_axes` must not share an axis. Received: input_axes={input_axes}, "
            f"output_axes={output_axes}, which share {shared} in shape {shape}. "
            "Declare an axis that is neither (a receptive field) by leaving it out of both."
        )
    receptive = math.prod(shape[axis] for axis in everything - inputs - outputs)
    return (
        receptive * math.prod(shape[axis] for axis in inputs),
        receptive * math.prod(shape[axis] for axis in outputs),
    )


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
