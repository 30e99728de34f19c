"""Convolution kernels that act at one position: everything is on the centre tap, as a matrix over the channels."""

from __future__ import annotations

from typing import Any, ClassVar

from keras import ops

from keras_initlab.initializers.arguments import Count, Real
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.factors import haar
from keras_initlab.initializers.registry import register
from keras_initlab.initializers.seeds import Seed

__all__ = ["DeltaOrthogonal", "Dirac"]

_GROUPS = Count(mend="Pass the `groups` of the convolution layer.")


@register(shape=(3, 2, 5, 8), gain=1.5, groups=2, seed=7)
class DeltaOrthogonal(Initializer):
    """Convolution kernel that is orthogonal over the channels at its centre tap, and 0 elsewhere.

    ``K[c] = gain · Q, K[t] = 0 for t ≠ c``, where c = (k − 1) // 2 along each spatial axis of size k, and Q is an
    (in, out) matrix with QQᵀ = I if out ≥ in, else QᵀQ = I, Haar-distributed

    With out ≥ in, ``padding="same"`` and no stride the convolution multiplies the norm of every input by ``gain``
    exactly, up to the borders. An orthogonal flattened kernel (``Orthogonal``) does not, since the outputs of its taps
    overlap: with 8 channels and 8 filters of 3×3, singular values on an image of 5×4 went from below 0.01 to above 1.6.

    Args:
        gain: Factor, a finite number. Default 1.0, which preserves the norm in a linear network.
        groups: The ``groups`` of the layer, at least 1. Default 1. Each group of filters has a matrix of its own, of
            shape (in / groups, out / groups), independent of the others.
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.

    Shape (*spatial, in / groups, out) with one to three spatial axes, any float dtype. A zero-size axis gives an empty
    tensor. An even axis has two middle taps; the first is the one that ``padding="same"`` lays on the output's own
    position (without dilation). With a stride, the positions that no output is centred on are not read at all.

    With out < in no map preserves every norm. The paper leaves that case out; here the columns are orthonormal, as in
    ``Orthogonal``, so that a bottleneck can be initialized like the rest of its network: in − out directions are lost,
    all others are multiplied by the gain, and so is the norm of every gradient on its way back.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the shape has no one to three spatial axes, or its
            last axis is not divisible by ``groups``.

    Reference:
        Xiao et al. (2018), Dynamical isometry and a mean field theory of CNNs: how to train 10,000-layer vanilla
        convolutional neural networks, algorithm 2.

    Example:
        >>> import keras
        >>> kernel = keras.ops.convert_to_numpy(DeltaOrthogonal(seed=0)((3, 2, 4)))
        >>> [bool(tap.any()) for tap in kernel]
        [False, True, False]
        >>> ((kernel[1] @ kernel[1].T).round(5) + 0.0).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    arguments: ClassVar = {"gain": Real(), "groups": _GROUPS, "seed": Seed()}
    gain: float
    groups: int

    def __init__(self, gain: float = 1.0, groups: int = 1, seed: Any = None) -> None:
        super().__init__(gain=gain, groups=groups, seed=seed)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        inputs, outputs = _channels_of_a_group(self, shape)
        blocks = haar((self.groups, inputs, outputs), dtype, self._next_seed())
        side_by_side = ops.reshape(ops.transpose(blocks, (1, 0, 2)), shape[-2:])
        return _at_the_centre(side_by_side * self.gain, shape, dtype)


@register(shape=(3, 2, 5, 8), gain=1.5, groups=2)
class Dirac(Initializer):
    """Convolution kernel that passes its input channels through.

    ``K[c, i, g · out/groups + i] = gain`` for each group g and i < min(in, out) / groups, and 0 elsewhere, where c =
    (k − 1) // 2 along each spatial axis of size k

    With ``padding="same"``, no stride and gain 1 the first channels of each group leave as they came, at every
    position. If a group has more filters than channels, the further filters are 0; if fewer, the further channels are
    lost.

    Args:
        gain: Value of the non-zero weights, a finite number. Default 1.0, the identity.
        groups: The ``groups`` of the layer, at least 1. Default 1.

    Shape (*spatial, in / groups, out) with one to three spatial axes, any float dtype. A zero-size axis gives an empty
    tensor. An even axis has two middle taps; the first is the one that ``padding="same"`` lays on the output's own
    position (without dilation). Under ``padding="causal"`` the signal comes k // 2 steps late. Nothing is random: every
    call gives the same kernel.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the shape has no one to three spatial axes, or its
            last axis is not divisible by ``groups``.

    Reference:
        Zagoruyko & Komodakis (2017), DiracNets: training very deep neural networks without skip-connections.

    Example:
        >>> import keras
        >>> keras.ops.convert_to_numpy(Dirac()((3, 2, 2))).tolist()
        [[[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]
    """

    arguments: ClassVar = {"gain": Real(), "groups": _GROUPS}
    gain: float
    groups: int

    def __init__(self, gain: float = 1.0, groups: int = 1) -> None:
        super().__init__(gain=gain, groups=groups)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        inputs, outputs = _channels_of_a_group(self, shape)
        block = ops.eye(inputs, outputs, dtype=dtype) * self.gain
        return _at_the_centre(ops.tile(block, (1, self.groups)), shape, dtype)


def _channels_of_a_group(initializer: DeltaOrthogonal | Dirac, shape: tuple[int, ...]) -> tuple[int, int]:
    """Input channels and filters of one group of a kernel (*spatial, in / groups, out)."""
    name, groups = type(initializer).__name__, initializer.groups
    if not 3 <= len(shape) <= 5:
        raise ValueError(
            f"{name} needs the shape of a convolution kernel, with one to three spatial axes, then input channels and "
            f"filters. Received: shape={shape}. Use Orthogonal or Identity for a matrix, and zeros for a bias."
        )
    if shape[-1] % groups:
        raise ValueError(
            f"{name}(groups={groups}) needs a number of filters, the last axis, that {groups} divides. "
            f"Received: shape={shape}. Set `groups` to that of the layer."
        )
    return shape[-2], shape[-1] // groups


def _at_the_centre(matrix: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Surround a matrix over the channels with zeros along the spatial axes."""
    if 0 in shape:
        return ops.zeros(shape, dtype=dtype)
    spatial = shape[:-2]
    before_and_after = [((size - 1) // 2, size // 2) for size in spatial]
    single_tap = ops.reshape(matrix, (1,) * len(spatial) + shape[-2:])
    return ops.pad(single_tap, [*before_and_after, (0, 0), (0, 0)])
