"""The law of one weight, given its role: fans, axes and gates against numbers counted by hand; keys."""

import math
from typing import ClassVar

import keras
import numpy as np
import pytest
from scipy import stats

from keras_initlab import initializers as ours
from keras_initlab.initializers.seeds import PortableSeed
from keras_initlab.model_init.laws import configured, fitted, key_of, of_gain
from keras_initlab.model_init.places import placed_weights
from keras_initlab.model_init.roles import Role
from tests.initializers.laws import FIVE_SIGMA, assert_law, cut_normal, normal, numbers, uniform
from tests.model_init.drawing import correlation, layers, sequential

K = keras.initializers
CUT_STD = 0.8796256610342398


def scaled(distribution, variance):
    """The law of this name with mean 0 and this variance."""
    std = math.sqrt(variance)
    if distribution == "uniform":
        return uniform(-math.sqrt(3) * std, math.sqrt(3) * std)
    if distribution == "untruncated_normal":
        return normal(0.0, std)
    return cut_normal(0.0, std / CUT_STD, -2, 2)


# Role, shape, fan-in and fan-out as one counts them on paper.
ROLES = {
    "dense": (Role("kernel", (0,), (1,)), (60, 80), 60, 80),
    "convolution": (Role("kernel", (-2,), (-1,)), (3, 3, 16, 32), 9 * 16, 9 * 32),
    "strides": (Role("kernel", (-2,), (-1,), strides=(2, 2)), (4, 4, 16, 32), 16 * 16, 4 * 32),
    "groups": (Role("kernel", (-2,), (-1,), groups=4), (3, 3, 8, 64), 9 * 8, 9 * 16),
    "transposed": (Role("kernel", (-1,), (-2,), strides=(2, 2), transposed=True), (4, 4, 16, 32), 4 * 32, 16 * 16),
    "depthwise": (Role("kernel", (), (-1,), (-2,)), (3, 3, 256, 2), 9, 18),
    "stack of matrices": (Role("kernel", (1,), (2,), (0,)), (8, 24, 32), 24, 32),
    "heads": (Role("kernel", (0,), (1, 2)), (48, 4, 30), 48, 120),
    "out of heads": (Role("kernel", (0, 1), (2,)), (4, 30, 48), 120, 48),
    "gates of an LSTM": (Role("kernel", (0,), (1,), cell="lstm"), (40, 4 * 30), 40, 30),
    "gates of a GRU": (Role("recurrent_kernel", (0,), (1,), cell="gru"), (40, 3 * 40), 40, 40),
    "gates of a ConvLSTM": (Role("kernel", (-2,), (-1,), cell="lstm"), (3, 3, 8, 4 * 20), 72, 180),
    "embedding": (Role("embedding", (0,), (1,)), (300, 20), 20, 20),
}
each_role = pytest.mark.parametrize(("role", "shape", "fan_in", "fan_out"), ROLES.values(), ids=ROLES.keys())

# Variance times fan, fan, distribution: from the papers.
RECIPES = {
    "glorot_normal": (1.0, "fan_avg", "truncated_normal"),
    "glorot_uniform": (1.0, "fan_avg", "uniform"),
    "he_normal": (2.0, "fan_in", "truncated_normal"),
    "he_uniform": (2.0, "fan_in", "uniform"),
    "lecun_normal": (1.0, "fan_in", "truncated_normal"),
    "lecun_uniform": (1.0, "fan_in", "uniform"),
}
SCALINGS = [
    *(pytest.param(K.get(name), *recipe, id=name) for name, recipe in RECIPES.items()),
    *(
        pytest.param(
            package.VarianceScaling(3.0, mode, distribution), 3.0, mode, distribution, id=f"{who} {mode} {law}"
        )
        for who, package in (("Keras", K), ("ours", ours))
        for mode, distribution, law in [
            ("fan_out", "uniform", "uniform"),
            ("fan_out", "truncated_normal", "cut normal"),
            ("fan_avg", "untruncated_normal", "normal"),
            ("fan_in", "untruncated_normal", "normal"),
        ]
    ),
]
# Each of the roles' and recipes' checks is three; together they refuse right laws as seldom as one at five sigma.
ALPHA = FIVE_SIGMA / (3 * len(ROLES) * len(SCALINGS))


def drawn(law, shape, key=5):
    return numbers(law.keyed(key).initializer(shape, dtype="float32"))


class TestVarianceScaling:
    @each_role
    @pytest.mark.parametrize(("initializer", "scale", "mode", "distribution"), SCALINGS)
    def test_target_and_values(self, role, shape, fan_in, fan_out, initializer, scale, mode, distribution):
        law = fitted(initializer, role, shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        assert law.target == pytest.approx(math.sqrt(scale / fan), rel=1e-12)
        assert_law(drawn(law, shape), scaled(distribution, scale / fan), ALPHA)

    def test_the_check_refuses_swapped_fans(self):
        role, shape, _, fan_out = ROLES["depthwise"]
        values = drawn(fitted(K.LecunNormal(), role, shape), shape)
        with pytest.raises(AssertionError, match="std"):
            assert_law(values, scaled("truncated_normal", 1 / fan_out), ALPHA)

    def test_the_geometric_mean_and_an_activation(self):
        """For ReLU the gain is √2 forward and backward."""
        law = fitted(ours.VarianceScaling(1.0, "fan_geo_avg", activation="relu"), *ROLES["dense"][:2])
        assert law.target == pytest.approx(math.sqrt(2 / math.sqrt(60 * 80)), rel=1e-9)
        assert_law(drawn(law, (60, 80)), scaled("truncated_normal", 2 / math.sqrt(60 * 80)))

    @pytest.mark.parametrize("kind", ["bias", "scale", "offset", "moving_statistic"])
    def test_a_weight_without_fans_is_as_keras_has_it(self, kind):
        law = fitted(K.LecunNormal(), Role(kind), (4096,))
        assert isinstance(law.initializer, K.LecunNormal)
        assert law.target is None


WHOLE = [
    (K.RandomNormal(0.5, 2.0), normal(0.5, 2.0)),
    (K.RandomUniform(-1.0, 3.0), uniform(-1.0, 3.0)),
    (K.TruncatedNormal(0.5, 2.0), cut_normal(0.5, 2.0, -2, 2)),
    (ours.RandomNormal(0.5, 2.0), normal(0.5, 2.0)),
    (ours.RandomUniform(-1.0, 3.0), uniform(-1.0, 3.0)),
    (ours.TruncatedNormal(0.5, 2.0), cut_normal(0.5, 2.0, -2, 2)),
]


class TestOthers:
    """What knows no fans is drawn as it is."""

    @each_role
    @pytest.mark.parametrize(("initializer", "law"), WHOLE)
    def test_a_law_of_its_own_numbers(self, role, shape, fan_in, fan_out, initializer, law):
        values = drawn(fitted(initializer, role, shape), shape)
        assert_law(values, law, FIVE_SIGMA / (3 * len(ROLES) * len(WHOLE)))

    @pytest.mark.parametrize(
        ("initializer", "expected"),
        [
            (K.Zeros(), np.zeros((4, 4))),
            (K.Ones(), np.ones((4, 4))),
            (K.Constant(0.25), np.full((4, 4), 0.25)),
            (K.Identity(2.0), 2 * np.eye(4)),
            (ours.Identity(2.0), 2 * np.eye(4)),
        ],
        ids=["Zeros", "Ones", "Constant", "Keras's Identity", "Identity"],
    )
    def test_values_without_chance(self, initializer, expected):
        role = Role("kernel", (0,), (1,), cell="lstm")
        np.testing.assert_array_equal(drawn(fitted(initializer, role, (4, 4)), (4, 4)), expected)

    @pytest.mark.parametrize("name", ["GlorotNormal", "Orthogonal"])
    def test_declared_axes_stay(self, name):
        initializer = getattr(ours, name)(input_axes=[1], output_axes=[0])
        law = fitted(initializer, Role("kernel", (0,), (1,)), (8, 4))
        assert law.initializer is initializer
        assert law.keyed(3).initializer.get_config() == {**initializer.get_config(), "seed": 3}

    def test_an_array_and_a_callable(self):
        array = np.arange(6.0, dtype="float32").reshape(2, 3)
        for given in (array, lambda shape, dtype=None: keras.ops.convert_to_tensor(array)):
            (weight,) = placed_weights(sequential((2,), layers.Dense(3, use_bias=False, kernel_initializer=given)))
            np.testing.assert_array_equal(drawn(configured(weight), (2, 3)), array)

    def test_no_initializer_no_law(self):
        (weight, _) = placed_weights(sequential((2,), layers.Dense(3)))
        assert configured(type(weight)(**{**vars(weight), "initializer": None})) is None


def matrices(values, role):
    """The matrices that a kernel consists of, (rows, columns), independently of the package."""
    rank = values.ndim
    outputs, stack = ([axis % rank for axis in axes] for axes in (role.output_axes, role.batch_axes))
    rows = [axis for axis in range(rank) if axis not in (*outputs, *stack)]
    columns = math.prod(values.shape[axis] for axis in outputs)
    flat = values.transpose(*stack, *rows, *outputs).reshape(
        math.prod(values.shape[axis] for axis in stack), -1, columns
    )
    parts = {"lstm": 4, "gru": 3}.get(role.cell, 1) * role.groups
    return [block for matrix in flat for block in np.split(matrix, parts, axis=1)]


class TestOrthogonal:
    """One matrix for each gate, group and batch axis; all of its singular values are the gain."""

    @each_role
    @pytest.mark.parametrize("package", [K, ours], ids=["Keras", "ours"])
    def test_singular_values(self, role, shape, fan_in, fan_out, package):
        law = fitted(package.Orthogonal(gain=1.5), role, shape)
        values = drawn(law, shape)
        for matrix in matrices(values, role):
            np.testing.assert_allclose(np.linalg.svd(matrix, compute_uv=False), 1.5, atol=1e-5)
        assert math.sqrt(np.mean(values**2)) == pytest.approx(law.target, rel=1e-5)

    @each_role
    def test_a_wide_one_that_keeps_the_variance(self, role, shape, fan_in, fan_out):
        law = fitted(ours.Orthogonal(variance_preserving=True), role, shape)
        values = drawn(law, shape)
        rows = len(matrices(values, role)[0])
        assert law.target == pytest.approx(1 / math.sqrt(rows), rel=1e-12)
        assert math.sqrt(np.mean(values**2)) == pytest.approx(law.target, rel=1e-5)

    def test_the_blocks_differ(self):
        role, shape, *_ = ROLES["gates of an LSTM"]
        blocks = matrices(drawn(fitted(K.Orthogonal(), role, shape), shape), role)
        assert all(abs(correlation(blocks[0], block)) < 5 / math.sqrt(block.size) for block in blocks[1:])

    @each_role
    def test_of_a_gain(self, role, shape, fan_in, fan_out):
        """E w² is the squared factor over the fan-in, and the matrices are orthogonal."""
        law = of_gain(role, shape, 1.5, "for a test")
        values = drawn(law, shape)
        assert law.target == pytest.approx(1.5 / math.sqrt(fan_in), rel=1e-12)
        assert math.sqrt(np.mean(values**2)) == pytest.approx(law.target, rel=1e-5)
        spectra = [np.linalg.svd(matrix, compute_uv=False) for matrix in matrices(values, role)]
        np.testing.assert_allclose(spectra, np.mean(spectra), rtol=1e-5)

    def test_of_a_gain_not_orthogonal(self):
        law = of_gain(Role("embedding", (0,), (1,)), (300, 20), 1.0, "for a test", orthogonal=False)
        assert_law(drawn(law, (300, 20)), scaled("truncated_normal", 1 / 20))


class TestForgetBias:
    """Keras's ``unit_forget_bias``: ones for the second quarter, whatever the law of the rest."""

    SHAPE = (4 * 2000,)

    def law(self, initializer, **arguments):
        model = sequential(
            (3, 2), layers.LSTM(2000, recurrent_initializer="zeros", bias_initializer=initializer, **arguments)
        )
        return configured(placed_weights(model)[2])

    @pytest.mark.parametrize("initializer", ["zeros", K.RandomNormal(0.5, 2.0), ours.RandomNormal(0.5, 2.0)])
    def test_ones_for_the_forget_gate(self, initializer):
        i, f, c, o = np.split(drawn(self.law(initializer), self.SHAPE), 4)
        assert (f == 1.0).all()
        if initializer == "zeros":
            assert not np.any([i, c, o])
        else:
            assert_law(np.stack([i, c, o]), normal(0.5, 2.0))

    def test_switched_off(self):
        assert not drawn(self.law("zeros", unit_forget_bias=False), self.SHAPE).any()


PORTABLE = PortableSeed(7)
PLACES = ["dense/kernel", "dense_1/kernel", "dense/bias", "a/dense/kernel", "kernel", ""]


class TestKeys:
    KINDS: ClassVar = {"int": 7, "PortableSeed": PORTABLE}
    each = pytest.mark.parametrize("seed", KINDS.values(), ids=KINDS.keys())

    @each
    def test_one_place_has_one_key(self, seed):
        assert key_of(seed, "dense/kernel") == key_of(seed, "dense/kernel")
        assert type(key_of(seed, "dense/kernel")) is type(seed)

    def test_they_are_the_same_for_ever(self):
        """A saved seed would mean other weights, were this number to change."""
        assert key_of(0, "dense/kernel") == 2297637582
        assert key_of(PortableSeed(0), "dense/kernel") == PortableSeed(5965590863545576142)

    @each
    def test_places_and_seeds_have_their_own(self, seed):
        others = [key_of(8, place) for place in PLACES] if seed == 7 else []
        keys = [key_of(seed, place) for place in PLACES]
        assert len({*keys, *others}) == len(keys) + len(others)

    @each
    @pytest.mark.parametrize("package", [K, ours], ids=["Keras", "ours"])
    @pytest.mark.parametrize("name", ["RandomNormal", "GlorotUniform", "Orthogonal"])
    def test_values_of_different_places_are_independent(self, seed, package, name):
        law = fitted(getattr(package, name)(seed=3), Role("kernel", (0,), (1,)), (64, 64))
        values = [drawn(law, (64, 64), key_of(seed, place)) for place in PLACES]
        again = [drawn(law, (64, 64), key_of(seed, place)) for place in PLACES]
        np.testing.assert_array_equal(values, again)
        pairs = [(a, b) for index, a in enumerate(values) for b in values[:index]]
        band = stats.norm.isf(FIVE_SIGMA / 2 / len(pairs)) / 64
        assert all(abs(correlation(a, b)) <= band for a, b in pairs)

    @each
    @pytest.mark.parametrize("inner", ["glorot_uniform", ours.GlorotUniform()], ids=["Keras", "ours"])
    def test_inside_other_laws(self, seed, inner):
        """Each takes the kind of seed that it knows."""
        law = fitted(ours.PerGate(ours.PerGate(inner, 2), 2), Role("kernel", (0,), (1,), cell="lstm"), (8, 32))
        one, same, another = (drawn(law, (8, 32), key_of(seed, place)) for place in ("a", "a", "b"))
        assert (one == same).all()
        assert (one != another).any()
        assert np.unique(one).size == one.size

    def test_a_law_is_drawn_by_its_key_alone(self):
        laws = [fitted(K.HeNormal(seed=seed), Role("kernel", (0,), (1,)), (8, 8)) for seed in (1, 2, None)]
        one, two, three = (drawn(law, (8, 8)) for law in laws)
        assert (one == two).all()
        assert (one == three).all()


def test_laws_say_what_they_are():
    role, shape, *_ = ROLES["gates of an LSTM"]
    assert fitted(K.HeNormal(), role, shape).name == "HeNormal"
    assert fitted(K.Orthogonal(), role, shape).name == "Orthogonal"
    assert fitted(len, role, shape).name == "len"
    assert of_gain(role, shape, 1.0, "because").name == "Orthogonal, because"
