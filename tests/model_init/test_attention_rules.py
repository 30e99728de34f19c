import keras
import numpy as np
import pytest

from keras_initlab.model_init.moments import attention_rules  # noqa: F401  (enters the rules)
from keras_initlab.model_init.moments.attention_moments import Attending, attention_moments
from keras_initlab.model_init.moments.rules import Moments, rule_for
from keras_initlab.model_init.moments.softmax_moments import softmax_moments, softmax_products

from .measured_rules import check, even, predict, the_call, uneven

layers = keras.layers


def sampled_softmax(mean, variance, count=200_000):
    x = np.random.default_rng(0).normal(mean, np.sqrt(variance), (count, *mean.shape))
    p = np.exp(x - x.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize(("size", "variance"), [(2, 1.0), (10, 1.0), (64, 0.1), (5, 9.0), (3, 400.0)])
def test_softmax_of_independent_normals(size, variance):
    x = uneven((size,), low=0.5 * variance, high=2 * variance)
    found = softmax_moments(*x)
    p = sampled_softmax(*x, count=100_000)
    assert (np.abs(found.mean - p.mean(0)) <= 5.5 * p.std(0) / 100_000**0.5 + 1e-9).all()
    spread = np.sqrt(((p - p.mean(0)) ** 4).mean(0) - p.var(0) ** 2)
    assert (np.abs(found.variance - p.var(0)) <= 5.5 * spread / 100_000**0.5 + 1e-4 * p.var(0)).all()
    np.testing.assert_allclose(found.mean.sum(), 1.0, rtol=1e-5)


def test_products_sum_to_one():
    """``Σᵢⱼ pᵢpⱼ = 1``, so that every row of ``E pᵢpⱼ`` sums to ``E pᵢ``."""
    first, second = softmax_products(*uneven((3, 20), low=0.5, high=4.0))
    np.testing.assert_allclose(second.sum(-1), first, rtol=1e-3)
    np.testing.assert_allclose(second, second.swapaxes(-1, -2), rtol=1e-12)


def test_constant_logits():
    found = softmax_moments(np.log([[1.0, 3.0], [2.0, 2.0]]), np.zeros((2, 2)))
    np.testing.assert_allclose(found.mean, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-5)
    np.testing.assert_allclose(found.variance, 0.0, atol=1e-5)


@pytest.mark.parametrize("axis", [-1, 1, 2, (2,)])
def test_softmax_layer(axis):
    check(layers.Softmax(axis=axis), [uneven((3, 4))], slack=1e-3)


def test_softmax_operation():
    check(lambda x: keras.ops.softmax(x, axis=1), [uneven((3, 4))], slack=1e-3)


def test_softmax_over_two_axes_is_left_to_measurement():
    layer = layers.Softmax(axis=(1, 2))
    call = the_call(*reversed([i := keras.Input((3, 4)), layer(i)]))
    assert predict(call, [even((3, 4))]) is NotImplemented


@pytest.mark.parametrize("cls", [layers.Embedding, layers.ReversibleEmbedding])
def test_embedding_over_all_indices(cls):
    layer = cls(7, 3)
    call = the_call(*reversed([i := keras.Input((4,), dtype="int32"), layer(i)]))
    found = predict(call, [Moments(np.full(4, np.nan), np.full(4, np.nan))])
    table = keras.ops.convert_to_numpy(layer(np.arange(7))).astype("float64")
    assert found.mean.shape == (4, 3)
    np.testing.assert_allclose(found.mean, np.tile(table.sum(0) / 7, (4, 1)), atol=1e-12)
    np.testing.assert_allclose(found.variance, np.tile((table**2).sum(0) / 7 - (table.sum(0) / 7) ** 2, (4, 1)))


@pytest.mark.parametrize("tie", [True, False])
def test_embedding_in_reverse(tie):
    layer = layers.ReversibleEmbedding(5, 3, tie_weights=tie)
    layer.build()
    check(lambda x: layer(x, reverse=True), [uneven((2, 3))])


# -- attention ---------------------------------------------------------------------------------------------------------

TOKENS, WIDTH = 12, 64
EXAMPLES = 4000


def tokens(mean=0.0, count=TOKENS, seed=0):
    rng = np.random.default_rng(seed)
    variance = rng.uniform(0.5, 1.5, WIDTH) * np.ones((count, 1))
    return Moments(mean * rng.normal(size=(count, WIDTH)), variance)


def louder(layer, factor):
    """Larger scores: their standard deviation is the square of it."""
    for dense in (layer._query_dense, layer._key_dense):
        dense.kernel.assign(dense.kernel * factor)


def of_attention(layer, x, *, other=None, factor=1.0, **options):
    """Predicted and measured (mean, variance) by element; ``other`` is attended to in place of x."""
    inputs = [x] if other is None else [x, other]
    symbolic = [keras.Input(m.mean.shape) for m in inputs]
    out = layer(symbolic[0], symbolic[-1], **options)
    louder(layer, factor)
    model = keras.Model(symbolic, out)
    found = predict(the_call(out, symbolic), inputs if other else [x, x])
    rng = np.random.default_rng(5)
    blocks = []
    for _ in range(EXAMPLES // 500):
        drawn = [rng.normal(m.mean, np.sqrt(m.variance), (500, *m.mean.shape)).astype("float32") for m in inputs]
        blocks.append(keras.ops.convert_to_numpy(model(drawn, training=True)).astype("float64"))
    y = np.concatenate(blocks)
    return found, Moments(y.mean(0), y.var(0))


def assert_close(found, measured):
    """The standard deviation within 2 %, and every mean within the errors of the draws and a tenth of a deviation."""
    assert np.sqrt(found.variance.mean() / measured.variance.mean()) == pytest.approx(1.0, abs=0.02)
    ratio = found.variance / measured.variance
    # A variance of 4000 draws is off by √(2/4000), for the tails that attention makes somewhat more.
    assert ratio.std() < 2.5 * (2 / EXAMPLES) ** 0.5
    off = (found.mean - measured.mean) / np.sqrt(measured.variance)
    assert np.sqrt((off**2).mean()) < 2 / EXAMPLES**0.5


def uneven_bias():
    return keras.initializers.RandomNormal(stddev=0.5, seed=7)


CASES = {
    "as Keras draws it": ({}, {}, {}),
    "large scores": ({}, {"factor": 1.5}, {}),
    "positions of different mean": ({}, {}, {"mean": 0.7}),
    "biases": ({"bias_initializer": uneven_bias()}, {}, {"mean": 0.5}),
    "causal": ({}, {"use_causal_mask": True}, {"mean": 0.5}),
    "no biases": ({"use_bias": False}, {"factor": 1.3}, {}),
    "dropout": ({"dropout": 0.3}, {}, {"mean": 0.3}),
}


@pytest.mark.parametrize("name", CASES)
def test_multi_head_attention_to_itself(name):
    keras.utils.set_random_seed(1)
    made, called, drawn = CASES[name]
    assert_close(*of_attention(layers.MultiHeadAttention(4, 16, **made), tokens(**drawn), **called))


def test_multi_head_attention_to_other_tokens():
    keras.utils.set_random_seed(2)
    layer = layers.MultiHeadAttention(4, 16, value_dim=8, output_shape=10)
    found, measured = of_attention(layer, tokens(0.3), other=tokens(0.3, count=7, seed=3), factor=1.3)
    assert found.mean.shape == (TOKENS, 10)
    assert_close(found, measured)


def test_grouped_query_attention():
    keras.utils.set_random_seed(3)
    layer = layers.GroupQueryAttention(16, 4, 2)
    assert_close(*of_attention(layer, tokens(0.3), factor=1.3))


def test_dot_product_attention_without_projections():
    keras.utils.set_random_seed(4)
    query, value = tokens(0.1), tokens(0.3, seed=8)
    layer = layers.Attention(use_scale=True)
    i, j = (keras.Input(m.mean.shape) for m in (query, value))
    out = layer([i, j])
    layer.scale.assign(0.15)
    found = predict(the_call(out, [i, j]), [query, value])
    rng = np.random.default_rng(5)
    q, v = (
        rng.normal(m.mean, np.sqrt(m.variance), (EXAMPLES, *m.mean.shape)).astype("float32") for m in (query, value)
    )
    y = keras.ops.convert_to_numpy(layer([q, v])).astype("float64")
    assert_close(found, Moments(y.mean(0), y.var(0)))


def test_values_that_share_their_tokens_with_the_keys_vary_more():
    """The term that independence of scores and values would leave out is more than the tolerance at this width."""
    rng = np.random.default_rng(0)
    kernel = [rng.normal(size=(WIDTH, 4, 16)) * 1.4 / WIDTH**0.5 for _ in range(3)]
    none, allowed = np.zeros((4, 16)), np.ones((TOKENS, TOKENS), bool)
    output = np.eye(64).reshape(4, 16, 64)
    x = even((TOKENS, WIDTH))
    both = [
        attention_moments(
            Attending(*kernel, none, none, none, output, np.zeros(64), 0.25, allowed, key_is_value=k), x, x, x
        )
        for k in (False, True)
    ]
    assert np.sqrt(both[1].variance.mean() / both[0].variance.mean()) > 1.03


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (lambda: layers.MultiHeadAttention(2, 8, use_gate=True), {}),
        (lambda: layers.MultiHeadAttention(2, 8, sliding_window=3), {}),
        (lambda: layers.MultiHeadAttention(2, 8, kernel_initializer=keras.initializers.HeNormal(seed=1)), {}),
        (lambda: layers.MultiHeadAttention(2, 8), {"attention_mask": np.ones((1, 4, 4), bool)}),
        (lambda: layers.MultiHeadAttention(2, 8), {"return_attention_scores": True}),
    ],
)
def test_what_the_rule_does_not_cover_is_left_to_measurement(layer, options):
    layer = layer()
    i = keras.Input((4, 16))
    out = layer(i, i, **options)
    call = the_call(out, i)
    assert rule_for(layer)(call, [even((4, 16))] * 2) is NotImplemented
