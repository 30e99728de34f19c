"""Orthogonal weights: uniform over all such matrices, or nearly orthogonal ones at the price of a normal draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from keras import ops

from keras_initlab.initializers import sampling
from keras_initlab.initializers.arguments import Axes, Choice, Flag, Real, check_disjoint
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.factors import haar, polar_factor
from keras_initlab.initializers.registry import register
from keras_initlab.initializers.seeds import Seed
from keras_initlab.theory import weight_axes

__all__ = ["Orthogonal"]


@register(
    shape=(3, 8, 5, 16),
    gain=1.5,
    seed=7,
    method="svd",
    input_axes=[1],
    output_axes=[2, 3],
    batch_axes=[0],
    variance_preserving=True,
)
class Orthogonal(Initializer):
    """Matrix with orthonormal columns (or rows, if it is wide), uniform over all such matrices.

    ``W = gain · Q``, with QᵀQ = I if rows ≥ columns, else QQᵀ = I, and Q Haar-distributed: U Q V has the law of Q for
    any fixed orthogonal U and V

    The rows are the inputs: the input axes and the receptive field, in their order. The columns are the output axes.
    Without declared axes that is Keras's flattening to (product of all axes but the last, last axis).

    Args:
        gain: Factor, a finite number: every singular value of W has this size. Default 1.0; √2 for ReLU.
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.
        method: How Q is drawn. ``"qr"`` (default, the fastest of the exact ones): the law of Q in A = QR, with A of
            independent standard normals and a positive diagonal of R, drawn as a product of random reflections without
            factorising an A. ``"svd"``: A = USVᵀ and Q = UVᵀ, the orthogonal matrix nearest to A; the same law.
            ``"gaussian"``: Q = A / √max(rows, columns), orthogonal in the mean only: entries of QᵀQ − I have standard
            deviation √(2/n) on the diagonal and 1/√n off it, n the longer side.
        input_axes: Axes that are summed over; None (default) for Keras's convention, as in ``VarianceScaling``. For
            the kernel of an attention's output projection, (heads, head size, features): ``input_axes=[0, 1]``.
        output_axes: Axes that lay out the output units, likewise. For query, key and value projections, (features,
            heads, head size): ``output_axes=[1, 2]``.
        batch_axes: Axes along which independent matrices are stacked. Default: none. For query, key and value with
            each head orthogonal on its own: ``batch_axes=[1]``.
        variance_preserving: Whether to multiply by max(√(columns / rows), 1). A wide Q keeps the length of a vector,
            and so makes each of the more entries smaller; with this factor it keeps their variance, as a tall one does
            by itself. Default False: singular values are ``gain`` in every shape.

    Rank 2 or higher, any float dtype. Drawn in float32 or wider and cast once; before the cast max |QᵀQ − I| is below
    5e-7 up to 4096×4096, where QR in float32 leaves 2e-6 to 4e-6. A zero-size axis gives an empty tensor.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the shape has fewer than two axes or does not have the
            declared ones.

    Reference:
        Saxe, McClelland & Ganguli (2014), Exact solutions to the nonlinear dynamics of learning in deep linear neural
        networks; Mezzadri (2007), How to generate random matrices from the classical compact groups, on the signs;
        Stewart (1980), The efficient generation of random orthogonal matrices with an application to condition
        estimators, section 3, on the reflections.

    Example:
        >>> w = np.asarray(Orthogonal(seed=0)((4, 2)))
        >>> (w.T @ w).round(6) + 0.0
        array([[1., 0.],
               [0., 1.]], dtype=float32)
    """

    arguments: ClassVar = {
        "gain": Real(),
        "seed": Seed(),
        "method": Choice(("qr", "svd", "gaussian")),
        "input_axes": Axes(),
        "output_axes": Axes(),
        "batch_axes": Axes(),
        "variance_preserving": Flag(),
    }
    gain: float
    method: str
    input_axes: tuple[int, ...] | None
    output_axes: tuple[int, ...] | None
    batch_axes: tuple[int, ...] | None
    variance_preserving: bool

    def __init__(
        self,
        gain: float = 1.0,
        seed: Any = None,
        method: str = "qr",
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
        batch_axes: Sequence[int] | None = None,
        variance_preserving: bool = False,
    ) -> None:
        super().__init__(
            gain=gain,
            seed=seed,
            method=method,
            input_axes=input_axes,
            output_axes=output_axes,
            batch_axes=batch_axes,
            variance_preserving=variance_preserving,
        )
        check_disjoint(self)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        if len(shape) < 2:
            raise ValueError(
                f"Orthogonal needs a shape with two axes or more. Received: shape={shape}. "
                "Use it for kernels, and zeros or a normal law for a bias."
            )
        axes = weight_axes(shape, self.input_axes, self.output_axes, self.batch_axes or ())
        order = (*axes.batch, *sorted(axes.inputs + axes.receptive), *axes.outputs)
        stack, columns = (math.prod(shape[axis] for axis in kind) for kind in (axes.batch, axes.outputs))
        rows = math.prod(shape[axis] for axis in axes.inputs + axes.receptive)
        gain = self.gain * (math.sqrt(max(columns / max(rows, 1), 1.0)) if self.variance_preserving else 1.0)
        matrices = self._matrices((stack, rows, columns), dtype) * gain
        laid_out = ops.reshape(matrices, [shape[axis] for axis in order])
        return ops.transpose(laid_out, [order.index(axis) for axis in range(len(shape))])

    def _matrices(self, shape: tuple[int, int, int], dtype: str) -> Any:
        """A stack of independent Q."""
        seed, (stack, rows, columns) = self._next_seed(), shape
        if self.method == "qr" or 0 in shape:
            return haar(shape, dtype, seed)
        longer, shorter = max(rows, columns), min(rows, columns)
        normal = sampling.normal((stack, longer, shorter), 0.0, 1.0, dtype, seed)
        q = normal / math.sqrt(longer) if self.method == "gaussian" else polar_factor(normal)
        return q if rows >= columns else ops.swapaxes(q, -1, -2)
