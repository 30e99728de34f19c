"""Rules of propagation for softmax, embeddings and dot-product attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Call, Value
from keras_initlab.model_init.moments.attention_moments import Attending, attention_moments
from keras_initlab.model_init.moments.rules import Moments, rule, weights
from keras_initlab.model_init.moments.softmax_moments import softmax_moments
from keras_initlab.model_init.roles import own_weights

__all__: list[str] = []

Array = NDArray[np.float64]

# Of attention, (heads, queries, keys, keys): a gigabyte in float64.
_LARGEST = 2**27
_ASSUMED = "tokens have independent elements, and scores are normal and independent of each other"


@rule("Softmax", normal=True)
def softmax(call: Call, inputs: Sequence[Moments]) -> Any:
    """The layer, the operation and the activation; see ``softmax_moments``."""
    axis = call.operation.axis
    axes = tuple(axis) if np.iterable(axis) else (axis,)
    if len(axes) > 1 or len(inputs) > 1 or axes[0] % (inputs[0].mean.ndim + 1) == 0:
        return NotImplemented
    return softmax_moments(*inputs[0], axis=axes[0] if axes[0] < 0 else axes[0] - 1)


@rule("Embedding", "ReversibleEmbedding", assumption="every index is equally likely")
def embedding(call: Call, inputs: Sequence[Moments]) -> Any:
    """Mean and variance over the rows of the table, each as likely as the next.

    A reversible embedding called in reverse is a product with the table's transpose, or with its own weight.
    """
    layer, moments = call.operation, inputs[0]
    own = {weight.name: weight for weight in own_weights(layer)}
    if any(weight.role.kind == "adapted" for weight in own.values()):
        return NotImplemented
    if call.kwargs.get("reverse") or len(call.args) > 1:
        return _reverse(layer, moments)
    table = weights().value(layer.embeddings)
    shape = (*moments.mean.shape, table.shape[1])
    return Moments(np.broadcast_to(table.mean(0), shape).copy(), np.broadcast_to(table.var(0), shape).copy())


def _reverse(layer: Any, moments: Moments) -> Any:
    if layer.logit_soft_cap is not None:
        return NotImplemented
    if layer.tie_weights:
        kernel = weights().value(layer.embeddings).T
    else:
        kernel = weights().kernel(layer.reverse_embeddings, lambda: _summed(moments))
    return Moments(moments.mean @ kernel, moments.variance @ kernel**2)


@rule("MultiHeadAttention", "GroupedQueryAttention", independent=True, assumption=_ASSUMED)
def multi_head(call: Call, inputs: Sequence[Moments]) -> Any:
    """Attention with the layer's own projections; see ``attention_moments``.

    Explicit masks, gates, sliding windows, more than one axis of positions and low-rank adapted or quantized
    projections are not covered; nor are two projections that drew the same kernel, which ties scores to values.
    """
    layer, tensors, causal = call.operation, _tensors(call), bool(call.kwargs.get("use_causal_mask"))
    gate = getattr(layer, "use_gate", getattr(layer, "_use_gate", False))
    window = getattr(layer, "sliding_window", getattr(layer, "_sliding_window", None))
    if tensors is None or _masked(call) or gate or window or inputs[0].mean.ndim != 2:
        return NotImplemented
    dense = (layer._query_dense, layer._key_dense, layer._value_dense, layer._output_dense)
    if any(weight.role.kind == "adapted" for part in dense for weight in own_weights(part)):
        return NotImplemented
    q, v, k = (dict(zip(call.inputs, inputs, strict=True))[tensor] for tensor in tensors)
    wq, wk, wv = (_kernel(part, x) for part, x in zip(dense, (q, k, v), strict=False))
    bq, bk, bv = (_bias(part, w.shape[1:]) for part, w in zip(dense, (wq, wk, wv), strict=False))
    bo = _bias(dense[3], dense[3].kernel.shape[2:])
    repeats = wq.shape[1] // wk.shape[1]
    wk, wv, bk, bv = np.repeat(wk, repeats, 1), np.repeat(wv, repeats, 1), *(np.repeat(b, repeats, 0) for b in (bk, bv))
    if any(a.shape == b.shape and np.array_equal(a, b) for a, b in ((wq, wk), (wq, wv), (wk, wv))):
        return NotImplemented
    rate = layer.dropout

    def with_output(wo: Array, bo: Array) -> Any:
        return _attend(
            Attending(wq, wk, wv, bq, bk, bv, wo, bo, wq.shape[-1] ** -0.5, _allowed(q, k, causal), dropout=rate),
            tensors,
            (q, k, v),
        )

    def mean_square() -> float:
        heads, size = wv.shape[1:]
        apart = np.eye(heads * size).reshape(heads, size, -1)
        return _summed(with_output(apart, np.zeros(heads * size)))

    kernel = weights().kernel(dense[3].kernel, mean_square)
    found = with_output(kernel.reshape(*kernel.shape[:2], -1), bo.ravel())
    if found is NotImplemented:
        return found
    shape = (len(q.mean), *kernel.shape[2:])
    return Moments(*(x.reshape(shape) for x in found))


@rule("Attention", independent=True, assumption=_ASSUMED)
def dot_product(call: Call, inputs: Sequence[Moments]) -> Any:
    """Attention between the inputs as they are: all projections are the identity. ``concat`` scores are not covered."""
    layer, tensors = call.operation, _tensors(call)
    if tensors is None or _masked(call) or layer.score_mode != "dot" or inputs[0].mean.ndim != 2:
        return NotImplemented
    q, v, k = (dict(zip(call.inputs, inputs, strict=True))[tensor] for tensor in tensors)
    score, output = np.eye(q.mean.shape[1])[:, None], np.eye(v.mean.shape[1])[:, None]
    scale = 1.0 if layer.scale is None else float(weights().value(layer.scale))
    none = np.zeros((1, len(score))), np.zeros((1, len(output)))
    allowed = _allowed(q, k, bool(call.kwargs.get("use_causal_mask")))
    return _attend(
        Attending(
            *(score, score, output, none[0], none[0], none[1], output.swapaxes(0, 1), none[1][0], scale, allowed),
            dropout=layer.dropout,
        ),
        tensors,
        (q, k, v),
    )


def _attend(layer: Attending, tensors: Sequence[Value], moments: tuple[Moments, Moments, Moments]) -> Any:
    """With what is said of which tensors are the same; ``tensors`` in Keras's order, query, value, key."""
    query, value, key = tensors
    if layer.query.shape[1] * layer.allowed.size * layer.allowed.shape[1] > _LARGEST:
        return NotImplemented
    known = dataclasses.replace(
        layer, query_is_key=query is key, query_is_value=query is value, key_is_value=key is value
    )
    return attention_moments(known, *moments)


def _masked(call: Call) -> bool:
    """Whether masks were given, or the scores are asked for too."""
    covered = ("inputs", "query", "value", "key", "training", "use_causal_mask")
    return any(name not in covered and given is not None and given is not False for name, given in call.kwargs.items())


def _tensors(call: Call) -> tuple[Value, Value, Value] | None:
    """Query, value and key; None where the call is made another way."""
    given = [*call.args] or [call.kwargs.get("inputs")]
    given = list(given[0]) if isinstance(given[0], (list, tuple)) else given
    given += [
        call.kwargs[name] for name in ("query", "value", "key")[len(given) :] if call.kwargs.get(name) is not None
    ]
    given = [x for x in given if x is not None]
    if len(given) not in (2, 3) or not all(isinstance(x, Value) for x in given):
        return None
    return given[0], given[1], given[-1]


def _kernel(dense: Any, moments: Moments) -> Array:
    return weights().kernel(dense.kernel, lambda: _summed(moments))


def _summed(moments: Any) -> float:
    """Mean over the positions of the sum of squares of a token."""
    return float(moments.square.sum(-1).mean()) if moments is not NotImplemented else 1.0


def _bias(dense: Any, shape: tuple[int, ...]) -> Array:
    return np.zeros(shape) if dense.bias is None else weights().value(dense.bias)


def _allowed(query: Moments, key: Moments, causal: bool) -> NDArray[np.bool_]:
    allowed = np.ones((len(query.mean), len(key.mean)), bool)
    return np.tril(allowed) if causal else allowed
