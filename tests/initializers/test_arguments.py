"""Wrong arguments and odd shapes: only the documented errors, each with what is allowed, what came, and the mend."""

import re

import keras
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from laws import FLOATS, numbers

from keras_initlab import initializers
from keras_initlab.initializers import REGISTRY

OTHERS = ["int8", "uint8", "int32", "int64", "bool", "string", "complex64", "float33"]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_wrong_value_of_every_argument(name):
    entry = REGISTRY[name]
    for argument in entry.make().get_config():
        limits = entry.cls.arguments[argument]
        assert limits.wrong
        for value in limits.wrong:
            text = re.escape(f"Argument `{argument}` must be {limits.allowed}. Received: {argument}={value!r}.")
            with pytest.raises((TypeError, ValueError), match=text):
                entry.make(**{argument: value})


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_argument_of_the_example_survives(name):
    """Guards the registry: an example that equals the defaults would not show a lost argument."""
    entry = REGISTRY[name]
    config = entry.make().get_config()
    assert config == {**config, **entry.example}
    assert set(config) == set(entry.example)


def test_the_nearest_right_name_is_proposed():
    with pytest.raises(ValueError, match=r'one of "fan_in", "fan_out", "fan_avg".*Did you mean "fan_in"'):
        initializers.VarianceScaling(mode="fanin")
    with pytest.raises(ValueError, match='Did you mean "truncated_normal"'):
        initializers.VarianceScaling(distribution="Truncated_Normal")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: initializers.TruncatedNormal(lower=2, upper=2),
            '`lower` must be below `upper`.*with "absolute" the weight itself',
        ),
        (
            lambda: initializers.TruncatedNormal(lower=None, upper=-1001),
            "values within 1000 standard deviations of the mean.*the nearer is 1001 away",
        ),
        (
            lambda: initializers.TruncatedNormal(stddev=0.6, lower=-1, upper=1, units="absolute", stddev_of="values"),
            r"`stddev` must be below 0.57735, that of the uniform law.*stddev=0.6.*Move the bounds apart",
        ),
        (lambda: initializers.RandomUniform(1.0, 0.0), "`maxval` must not be below `minval`.*Exchange the two"),
        (lambda: initializers.HeNormal(input_axes=[0], output_axes=[0]), r"must not share an axis.*which share \[0\]"),
        (lambda: initializers.Orthogonal(input_axes=[1], batch_axes=[1]), r"must not share an axis.*which share \[1\]"),
        (lambda: initializers.VarianceScaling(scale=float("inf")), "`scale` must be a number from 0 to"),
    ],
)
def test_arguments_that_contradict_each_other(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_none_and_infinity_are_one():
    bounded = initializers.TruncatedNormal(lower=-np.inf, upper=1)
    assert bounded.get_config() == initializers.TruncatedNormal(lower=None, upper=1).get_config()
    assert bounded.law == (0.05, -np.inf, 1.0)


def test_numpy_scalars_become_plain_numbers():
    config = initializers.RandomNormal(np.float32(0.5), np.int64(2), np.uint8(3)).get_config()
    assert config == {"mean": 0.5, "stddev": 2.0, "seed": 3}
    assert {type(value) for value in config.values()} == {float, int}


@pytest.mark.parametrize("dtype", OTHERS)
def test_a_dtype_that_is_not_float(dtype):
    for entry in REGISTRY.values():
        with pytest.raises(
            ValueError, match=rf"`dtype` must be a float dtype.*Received: dtype='{dtype}'.*cast the drawn"
        ):
            entry.make()(entry.shape, dtype=dtype)


@pytest.mark.parametrize("shape", [5, None, (None, 2), (2.0,), "ab", (True,)])
def test_a_shape_that_is_none(shape):
    with pytest.raises(TypeError, match=r"`shape` must be a list of whole numbers.*Received: shape="):
        initializers.HeNormal()(shape)
    with pytest.raises(ValueError, match="`shape` must have sizes that are at least 0"):
        initializers.HeNormal()((2, -1))


@pytest.mark.parametrize("dtype", [None, "float32", np.float32, keras.backend.standardize_dtype("float32")])
def test_ways_to_name_a_dtype(dtype):
    drawn = initializers.HeNormal(1)([np.int64(2), 3], dtype=dtype)
    assert keras.backend.standardize_dtype(drawn.dtype) == "float32"


def test_no_dtype_is_floatx():
    before = keras.backend.floatx()
    keras.backend.set_floatx("float16")
    try:
        assert keras.backend.standardize_dtype(initializers.HeNormal(1)((2, 3)).dtype) == "float16"
    finally:
        keras.backend.set_floatx(before)


DOCUMENTED = "|".join(
    [
        r"must name axes from .* is out of range",
        r"must be empty for a scalar",
        r"must name each axis once",
        r"must not share an axis",
        r"needs a shape with two axes",
        r"fills a bias of shape .* only",
        r"needs a shape whose last axis is a multiple",
        r"needs the shape of a convolution kernel",
        r"needs a number of filters",
        r"needs at least .* inputs",
        r"holds a weight of shape .* only",
    ]
)
AXES = ("input_axes", "output_axes", "batch_axes")
axes = st.none() | st.lists(st.integers(-5, 4), max_size=3, unique=True)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(REGISTRY)),
    shape=st.lists(st.integers(0, 4), max_size=5),
    dtype=st.sampled_from([*FLOATS, "float8_e4m3fn", "float8_e5m2"]),
    declared=st.none() | st.tuples(axes, axes, axes),
)
def test_any_shape_and_dtype_draws_or_says_why_not(name, shape, dtype, declared):
    entry = REGISTRY[name]
    changes = dict(zip(AXES, declared or (None, None, None), strict=True))
    refusal = ""
    try:
        drawn = entry.make(**(changes if "input_axes" in entry.example else {}))(shape, dtype=dtype)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        event(f"refused by {name}")
        assert re.search(DOCUMENTED, refusal), refusal
        assert "Received: " in refusal
        return
    assert tuple(drawn.shape) == tuple(shape)
    assert keras.backend.standardize_dtype(drawn.dtype) == dtype
    assert np.isfinite(numbers(drawn)).all()


def test_an_activation_that_has_no_gain():
    with pytest.raises(ValueError, match=r"None, the name.*activation='geluu'. Did you mean .gelu.\?$"):
        initializers.VarianceScaling(activation="geluu")
    with pytest.raises(ValueError, match=r"activation='softmax'. Take the gain of a layer before it"):
        initializers.VarianceScaling(activation="softmax")
    with pytest.raises(TypeError, match="a lambda cannot be loaded again"):
        initializers.VarianceScaling(activation=lambda x: x)
    with pytest.raises(ValueError, match=r'jumps at -0.5, 0.5.*"forward" and "centred" need no derivative'):
        initializers.VarianceScaling(mode="fan_out", activation="hard_shrink")
