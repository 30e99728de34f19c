"""Orthogonal weights, by either of two factorisations."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import keras
from keras import ops

from keras_initlab.initializers import sampling
from keras_initlab.initializers.arguments import Choice, Real, Seed
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.factors import polar_factor, qr_factor
from keras_initlab.initializers.registry import register

__all__ = ["Orthogonal"]


@register(gain=1.5, seed=7, method="svd")
class Orthogonal(Initializer):
    """Matrix with orthonormal columns (or rows, if it is wide), uniform over all such matrices.

    ``W = gain · Q``, with QᵀQ = I if rows ≥ columns, else QQᵀ = I, and Q Haar-distributed: U Q V has the law of Q for
    any fixed orthogonal U and V

    The weight is flattened to (product of all axes but the last, last axis), as in Keras.

    Args:
        gain: Factor, a finite number: every singular value of W has this size. Default 1.0; √2 for ReLU.
        seed: An integer, a ``keras.random.SeedGenerator`` or None, as in ``RandomNormal``.
        method: How a matrix A of independent standard normals is factorised. ``"qr"`` (default, the faster): A = QR,
            each column of Q multiplied by the sign of R's diagonal entry, without which the law would be that of the
            algorithm's sign convention and not Haar's. ``"svd"``: A = USVᵀ and Q = UVᵀ, the nearest to A.

    Rank 2 or higher, any float dtype. Factorised in float64 where the backend has it: max |QᵀQ − I| was 3e-11
    before the cast at 2048×2048, where float32 gave 2e-6. A zero-size axis gives an empty tensor.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the shape has fewer than two axes.

    Reference:
        Saxe, McClelland & Ganguli (2014), Exact solutions to the nonlinear dynamics of learning in deep linear neural
        networks, section 3; Mezzadri (2007), How to generate random matrices from the classical compact groups,
        section 5, on the signs.

    Example:
        >>> w = Orthogonal(seed=0)((4, 2)).numpy()
        >>> (w.T @ w).round(6) + 0.0
        array([[1., 0.],
               [0., 1.]], dtype=float32)
    """

    arguments: ClassVar = {"gain": Real(), "seed": Seed(), "method": Choice(("qr", "svd"))}
    gain: float
    method: str

    def __init__(self, gain: float = 1.0, seed: Any = None, method: str = "qr") -> None:
        super().__init__(gain=gain, seed=seed, method=method)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        if len(shape) < 2:
            raise ValueError(
                f"Orthogonal needs a shape with two axes or more. Received: shape={shape}. "
                "Use it for kernels, and zeros or a normal law for a bias."
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        if rows * columns == 0:
            return ops.zeros(shape, dtype=dtype)
        tall = (max(rows, columns), min(rows, columns))
        gaussian = sampling.normal(tall, 0.0, 1.0, dtype, self._next_seed())
        # JAX has float64 only where it was switched on, and whoever asks for a float64 weight did so.
        widest = dtype if keras.backend.backend() == "jax" else "float64"
        factor = qr_factor if self.method == "qr" else polar_factor
        q = factor(ops.cast(gaussian, widest))
        if rows < columns:
            q = ops.transpose(q)
        return ops.cast(ops.reshape(q * self.gain, shape), dtype)
