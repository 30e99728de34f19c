"""Matrices with orthonormal columns, uniform among all such, through ``keras.ops`` alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_initlab.initializers import sampling

__all__ = ["haar", "polar_factor"]

# Reflections that are applied at once. Of 64, 128, 192 and 256 the fastest at 1024×1024 and 2048×2048.
_BLOCK = 256


def haar(shape: tuple[int, ...], dtype: str, seed: Any) -> Any:
    """Draw a stack of independent matrices with orthonormal columns, or rows where they are wide.

    The law is that of Q in A = QR, with A of independent standard normals and a positive diagonal of R, which is the
    uniform one (Mezzadri 2007). Half as many columns as rows, or fewer, are well-conditioned (κ < 6), so that R comes
    from the Gram matrix by Cholesky. Of more columns no A is factorised: Householder's algorithm turns column j of A,
    from row j down, into a multiple of the unit vector, by a reflection H_j; what it leaves of the other columns is
    again independent and standard normal, since H_j does not depend on them. So Q = H_1 … H_n D with each H_j made
    from a normal vector of its own, of m − j + 1 entries, and D the signs that make R's diagonal positive (Stewart
    1980, The efficient generation of random orthogonal matrices with an application to condition estimators, section
    3). Either is a third of the work of QR, and nearly all of it products.

    Args:
        shape: ``(*stack, rows, columns)``.
        dtype: ``"float32"`` or ``"float64"``.
        seed: As in ``sampling``.

    Returns:
        A tensor of this shape and dtype. In float32 max |QᵀQ − I| is below 7e-7 up to 4096×4096, where Keras's has
        2e-6 to 4e-6 and takes two to five times as long.
    """
    *stack, rows, columns = shape
    if 0 in shape:
        return ops.zeros(shape, dtype=dtype)
    m, n = max(rows, columns), min(rows, columns)
    if m > _BLOCK and m >= 2 * n:
        q = _compiled_on_jax(_by_cholesky)(sampling.normal((*stack, m, n), 0.0, 1.0, dtype, seed))
    else:
        count = sum(height * width for height, width in _blocks(m, n))
        q = _compiled_on_jax(_by_reflections)(sampling.normal((*stack, count), 0.0, 1.0, dtype, seed), m, n)
    return q if rows >= columns else ops.swapaxes(q, -1, -2)


def polar_factor(a: Any) -> Any:
    """UVᵀ of A = USVᵀ, the matrix with orthonormal columns that is nearest to A, for a stack of matrices."""
    return _compiled_on_jax(_polar)(a)


def _by_cholesky(normal: Any) -> Any:
    """A R⁻¹ with RᵀR = AᵀA; Cholesky's R has a positive diagonal of itself."""
    a = _widened(normal)
    lower = ops.cholesky(_transposed_product(a, a))
    unit = ops.broadcast_to(ops.eye(a.shape[-1], dtype=a.dtype), lower.shape)
    inverse = ops.solve_triangular(lower, unit, lower=True)
    return _normalized(ops.matmul(a, ops.swapaxes(inverse, -1, -2)), 1.0, normal.dtype)


def _by_reflections(normal: Any, rows: int, columns: int) -> Any:
    """The first n columns of H_1 … H_n D, from the normal vectors block by block.

    A block of reflections V is I − V T Vᵀ, with T⁻¹ the upper triangle of VᵀV and 1 on the diagonal (Puglisi 1992,
    Modification of the Householder method based on the compact WY representation). With I + M the product of the
    blocks behind it, this one adds −V T Vᵀ (I + M) to M, whose columns before them are zero.
    """
    stack, end, m = normal.shape[:-1], normal.shape[-1], None
    signs: Any = []
    for height, width in reversed(_blocks(rows, columns)):
        begin = end - height * width
        block = ops.reshape(normal[..., begin:end], (*stack, height, width))
        v, sign = _reflectors(_widened(block))
        end, signs = begin, [sign, *signs]
        projection = ops.swapaxes(v[..., : columns - rows + height, :], -1, -2)
        if m is not None:
            behind = projection[..., width:] + _transposed_product(v[..., width:, :], m)
            projection = ops.concatenate([projection[..., :width], behind], axis=-1)
            m = ops.pad(m, [(0, 0)] * len(stack) + [(width, 0), (width, 0)])
        inverse = ops.triu(_transposed_product(v, v), 1) + ops.eye(width, dtype=v.dtype)
        added = ops.matmul(v, ops.solve_triangular(inverse, -projection))
        m = added if m is None else m + added
    signs = ops.concatenate(signs, axis=-1)
    return _normalized(m + ops.eye(rows, columns, dtype=signs.dtype), signs, normal.dtype)


def _blocks(rows: int, columns: int) -> list[tuple[int, int]]:
    """Height and width of each block of reflections: from the diagonal down."""
    return [(rows - start, min(_BLOCK, columns - start)) for start in range(0, columns, _BLOCK)]


def _normalized(q: Any, signs: Any, dtype: Any) -> Any:
    """Columns of length 1: what rounding did to the lengths is nearly all of the defect, and cheap to undo."""
    q = ops.cast(q * (signs * ops.rsqrt(_sum_over_rows(ops.square(q)))), dtype)
    return _nearer(_nearer(q)) if keras.backend.standardize_dtype(dtype) == "float64" else q


def _polar(a: Any) -> Any:
    u, _, v = ops.svd(_widened(a), full_matrices=False)
    q = _nearer(ops.cast(ops.matmul(u, v), a.dtype))
    return _nearer(q) if keras.backend.standardize_dtype(a.dtype) == "float64" else q


def _nearer(q: Any) -> Any:
    """A step of Newton and Schulz, which squares the defect.

    By operators, since on torch and NumPy some of Keras's operations round float64 to float32.
    """
    eye = ops.eye(q.shape[-1], dtype=q.dtype)
    return q @ (eye * 1.5 - (ops.swapaxes(q, -1, -2) @ q) * 0.5)


def _reflectors(normal: Any) -> tuple[Any, Any]:
    """Columns u_j of length √2, zero above row j, with H_j = I − u_j u_jᵀ; and the signs D."""
    width = normal.shape[-1]
    top, below = ops.tril(normal[..., :width, :]), normal[..., width:, :]
    diagonal = ops.expand_dims(ops.diagonal(top, axis1=-2, axis2=-1), -2)
    length = ops.sqrt(_sum_over_rows(ops.square(top)) + _sum_over_rows(ops.square(below)))
    # Not ops.sign: a first entry that is exactly 0 must not erase its column.
    sign = ops.where(diagonal < 0.0, -ops.ones_like(diagonal), ops.ones_like(diagonal))
    # A column of zeros keeps the zero reflector, which reflects nothing.
    scale = ops.rsqrt(ops.maximum(length * (length + ops.abs(diagonal)), 1e-30))
    top = top + ops.eye(width, dtype=top.dtype) * (sign * length)
    return ops.concatenate([top, below], axis=-2) * scale, -sign


def _transposed_product(a: Any, b: Any) -> Any:
    return ops.matmul(ops.swapaxes(a, -1, -2), b)


def _sum_over_rows(a: Any) -> Any:
    """Sum in sixteens and pairs, which keeps its axis. Row after row loses 1e-6 over 8192 rows in float32."""
    rows = a.shape[-2]
    if rows <= 1:
        return ops.sum(a, axis=-2, keepdims=True)
    part = 16 if rows % 16 == 0 else 2
    even = rows - rows % part
    sums = ops.sum(ops.reshape(a[..., :even, :], (*a.shape[:-2], even // part, part, a.shape[-1])), axis=-2)
    return _sum_over_rows(sums if even == rows else ops.concatenate([sums, a[..., even:, :]], axis=-2))


def _widened(a: Any) -> Any:
    """Float64 on a GPU under TensorFlow, which keeps ten bits of a float32 in its products there (TensorFloat-32)."""
    gpu = keras.backend.backend() == "tensorflow" and "gpu" in "".join(keras.distribution.list_devices()).lower()
    return ops.cast(a, "float64") if gpu else a


def _compiled_on_jax(function: Callable[..., Any]) -> Callable[..., Any]:
    """On JAX one program, in full float32: operation by operation the first call compiles for 2 to 11 seconds."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    def in_full_precision(normal: Any, *sizes: int) -> Any:
        with jax.default_matmul_precision("highest"):
            return jax.jit(function, static_argnums=tuple(range(1, 1 + len(sizes))))(normal, *sizes)

    return in_full_precision
