"""Moments behind dot-product attention: random weights on random values, both linear in the tokens."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from keras_initlab.model_init.moments.rules import Moments
from keras_initlab.model_init.moments.softmax_moments import softmax_products

__all__ = ["Attending", "attention_moments"]

Array = NDArray[np.float64]

# A law of the scores' variance is cut into this many parts.
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(4)
_MASKED = -1e4


@dataclass(frozen=True)
class Attending:
    """An attention layer as linear maps; h heads, n inputs of a token, d elements of a query and key, e of a value.

    Attributes:
        query, key, value: Kernels (n, h, d), (n, h, d) and (n, h, e).
        query_bias, key_bias, value_bias: (h, d), (h, d), (h, e).
        output: (h, e, outputs).
        output_bias: (outputs,).
        scale: Factor on the scores.
        allowed: (queries, keys) which keys each query may attend to.
        query_is_key, query_is_value, key_is_value: Which of the three are one and the same tensor.
        dropout: Rate of the dropout on the attention weights.
    """

    query: Array
    key: Array
    value: Array
    query_bias: Array
    key_bias: Array
    value_bias: Array
    output: Array
    output_bias: Array
    scale: float
    allowed: NDArray[np.bool_]
    query_is_key: bool = False
    query_is_value: bool = False
    key_is_value: bool = False
    dropout: float = 0.0


def attention_moments(layer: Attending, query: Moments, key: Moments, value: Moments) -> Moments:
    """Mean and variance of ``Σₕ Σₛ pₕₛ (xₛ Vₕ + bₕ) Oₕ + b`` with ``pₕ = softmax(scale · qₕ·kₕₛ)``, for each query.

    Assumed: the elements of the tokens are independent, and so many that the scores of a query are normal and
    independent of each other. The scores' means and variances are those of the actual kernels; that a long query makes
    all scores larger is in, its squared length taken as a gamma variable. With ``M = V O`` the output has four parts,
    for tokens of mean μ and variance v:

    - each value's own variance, ``Σₛ vₛ · ((Σₕ E pₕₛ Mₕ)² + Σₕ Var pₕₛ Mₕ²)``, summed over the n inputs;
    - that of the weights where the mean values differ between positions, ``Σₛₜ Cov(pₛ, pₜ) yₛ yₜ`` with ``y`` the mean
      value behind O;
    - what keys have in common with values. A normal score xₛ has ``E pₛ(xₛ − E xₛ) = Var xₛ · E pₛ(1 − pₛ)``, so that
      on average over the keys the layer is linear in the query's token: ``L = scale · Σₕ Qₕ Kₕᵀ diag(aₕ) Mₕ``,
      ``aₕ = Σₛ E pₕₛ(1 − pₕₛ) vₛ``, which adds ``v · L²``;
    - if a query attends to itself, its value and L come from one token: ``(Σₕ E pₕₜ Mₕ + L)²``.

    Args:
        layer: The layer.
        query: Moments of shape (queries, n).
        key: Moments of shape (keys, n).
        value: Moments of shape (keys, n).

    Returns:
        Moments of shape (queries, outputs).
    """
    first, products = _attention_weights(layer, query, key)
    diagonal = np.einsum("htss->hts", products).copy()
    places = np.arange(products.shape[-1])
    products[..., places, places] /= 1 - layer.dropout
    fluctuation = diagonal / (1 - layer.dropout) - first**2
    mixing = np.einsum("nhe,heo->hno", layer.value, layer.output)
    values = (
        np.einsum("sn,hno->hso", value.mean, mixing) + np.einsum("he,heo->ho", layer.value_bias, layer.output)[:, None]
    )
    mean = np.einsum("hts,hso->to", first, values) + layer.output_bias
    # Only what differs from the average over positions fluctuates, but for dropout, which changes the sum of weights.
    variance = np.einsum("htsr,hso,hro->to", products, values, values, optimize=True)
    variance -= np.einsum("hto->to", np.einsum("hts,hso->hto", first, values) ** 2)
    variance = np.maximum(variance, 0.0)
    linear, shift = _linear_part(layer, query, mixing, first - diagonal, value.variance)
    mean += shift
    own = np.zeros((len(mixing), len(query.mean)))
    if layer.query_is_value:
        own = np.einsum("htt->ht", first)
        linear += np.einsum("ht,hno->tno", own, mixing)
    variance += np.einsum("tn,tno->to", query.variance, linear**2)
    for h, k in itertools.combinations_with_replacement(range(len(mixing)), 2):
        together = (first[h] * first[k]) @ value.variance
        if layer.query_is_value:
            together -= (own[h] * own[k])[:, None] * value.variance
        together = together + fluctuation[h] @ value.variance if h == k else 2 * together
        variance += together @ (mixing[h] * mixing[k])
    return Moments(mean, variance)


def _linear_part(layer: Attending, query: Moments, mixing: Array, free: Array, variance: Array) -> tuple[Array, Array]:
    """L, (queries, n, outputs), and what it makes of the query's mean and bias, (queries, outputs)."""
    tokens, n = query.mean.shape
    linear, shift = np.zeros((tokens, n, mixing.shape[-1])), np.zeros((tokens, mixing.shape[-1]))
    if not layer.key_is_value:
        return linear, shift
    for h, of_head in enumerate(mixing):
        for t, shared in enumerate(layer.scale * free[h] @ variance):
            back = np.ascontiguousarray(layer.key[:, h].T * shared) @ of_head
            linear[t] += np.ascontiguousarray(layer.query[:, h]) @ back
            shift[t] += (query.mean[t] @ layer.query[:, h] + layer.query_bias[h]) @ back
    return linear, shift


def _attention_weights(layer: Attending, query: Moments, key: Moments) -> tuple[Array, Array]:
    """``E pₛ`` of shape (h, queries, keys) and ``E pₛpᵣ`` with one more axis of keys."""
    mean, spread, common, relative = _scores(layer, query, key)
    relative = np.clip(relative, 1e-6, 2.0)
    sizes = gammaincinv(1 / relative[..., None], (1 + _NODES) / 2) * relative[..., None]
    shares = _NODE_WEIGHTS / 2
    sizes /= (sizes * shares).sum(-1, keepdims=True)
    mean = np.where(layer.allowed, mean, _MASKED)
    first = products = np.zeros(())
    for node, share in enumerate(shares):
        variance = np.where(layer.allowed, spread * sizes[..., node, None] + common, 0.0)
        found = softmax_products(mean, variance)
        first, products = first + share * found[0], products + share * found[1]
    return first, products


def _scores(layer: Attending, query: Moments, key: Moments) -> tuple[Array, Array, Array, Array]:
    """Means of the scores and variance from the keys, (h, queries, keys); that from the query where the means of the

    keys differ, likewise; relative variance of the first over the queries, (h, queries).
    """
    q = np.einsum("tn,nhd->htd", query.mean, layer.query) + layer.query_bias[:, None]
    k = np.einsum("sn,nhd->hsd", key.mean, layer.key) + layer.key_bias[:, None]
    # A score that all keys have in common does not count.
    k -= k.mean(1, keepdims=True)
    of_query, t = _covariances(layer.query, query.variance)
    of_key, s = _covariances(layer.key, key.variance)
    mean = np.einsum("htd,hsd->hts", q, k)
    spread = np.einsum("uhde,vhde->huv", of_query, of_key)[:, t][:, :, s]
    spread += np.einsum("htd,vhde,hte->htv", q, of_key, q, optimize=True)[:, :, s]
    common = np.einsum("hsd,uhde,hse->hus", k, of_query, k, optimize=True)[:, t]
    average = of_key[s].mean(0)
    product = np.einsum("hde,uhef->uhdf", average, of_query)
    size = (np.einsum("uhdd->hu", product)[:, t] + np.einsum("htd,hde,hte->ht", q, average, q)).clip(1e-300)
    varying = 2 * np.einsum("uhde,uhed->hu", product, product)[:, t]
    pulled = np.einsum("htd,hde->hte", q, average)
    varying += 4 * np.einsum("htd,thde,hte->ht", pulled, of_query[t], pulled, optimize=True)
    if layer.query_is_key:
        own = np.einsum("nhd,tn,nhe->thde", layer.query, query.variance, layer.key, optimize=True)
        places = np.arange(len(query.mean))
        mean[:, places, places] += np.einsum("thdd->ht", own)
        spread[:, places, places] += np.maximum(np.einsum("thde,thed->ht", own, own), 0.0)
    return layer.scale * mean, layer.scale**2 * spread, layer.scale**2 * common, varying / size**2


def _covariances(kernel: Array, variance: Array) -> tuple[Array, NDArray[np.intp]]:
    """(different, h, d, d) covariances of the projected tokens, and which of them each position has."""
    different, places = np.unique(variance, axis=0, return_inverse=True)
    return np.einsum("nhd,un,nhe->uhde", kernel, different, kernel, optimize=True), places.reshape(-1)
