import itertools
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_initlab.model_init.analytic import propagate
from keras_initlab.model_init.comparing import compare

tf_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="observe measures on TensorFlow")
pytestmark = tf_only

WIDTH, BATCH = 256, 512


def network(scale=1.0, depth=4, activation="tanh"):
    """Kernels of variance ``scale / WIDTH``."""
    kernel = keras.initializers.VarianceScaling(
        scale, "fan_in", "untruncated_normal", seed=keras.random.SeedGenerator(1)
    )
    layers = [
        keras.layers.Dense(WIDTH, activation=activation, kernel_initializer=kernel, name=f"hidden_{i}")
        for i in range(depth)
    ]
    head = keras.layers.Dense(WIDTH, kernel_initializer=kernel, name="head")
    model = keras.Sequential([keras.Input((WIDTH,)), *layers, head], name="net")
    # A loss whose gradient is independent noise: what the prediction takes for granted.
    model.compile("sgd", loss=lambda y, out: keras.ops.sum(y * out, -1))
    return model


def both(model):
    from keras_initlab.statistics import observe

    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(BATCH, WIDTH)).astype("float32") for _ in range(2))
    return propagate(model), observe(model, x, y)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_prediction_and_measurement_agree_forward_and_backward(scale):
    """A kernel of n² elements has its sum of squares to √(2/n²), a tanh network passes on less of it than it gets."""
    report = compare(*both(network(scale)))
    assert [row["layer"] for row in report] == [
        f"net/{name}" for name in ("hidden_0", "hidden_1", "hidden_2", "hidden_3", "head")
    ]
    for row in report:
        assert row["std ratio"] == pytest.approx(1.0, abs=0.03)
        assert row["gradient ratio"] == pytest.approx(1.0, abs=0.06)
        np.testing.assert_allclose(row["n_in·Var(W)"], scale, rtol=5 * 2**0.5 / WIDTH)
        assert row["n_out·Var(W)"] == row["n_in·Var(W)"]
    assert report["net/head"]["gradient ratio"] == 1.0
    assert "so that both agree at net/head" in report.notes[0]


def test_linear_layers_multiply_the_variance_by_the_factors_of_the_table():
    report = compare(*both(network(0.5, activation=None)))
    rows = list(report)
    for before, after in itertools.pairwise(rows):
        np.testing.assert_allclose(
            (after["predicted std"] / before["predicted std"]) ** 2, after["n_in·Var(W)"], rtol=0.05
        )
        np.testing.assert_allclose(
            (before["predicted gradient"] / after["predicted gradient"]) ** 2, after["n_out·Var(W)"], rtol=0.05
        )


def test_fans_of_a_layer_that_is_not_square():
    model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(10, name="narrow")], name="net")
    predicted = propagate(model)
    row = compare(predicted, predicted, names=("once", "again"))["net/narrow"]
    np.testing.assert_allclose(row["n_in·Var(W)"] / row["n_out·Var(W)"], 3.0)
    assert (row["once std"], row["std ratio"]) == (row["again std"], 1.0)


def test_without_targets_there_are_no_gradients_measured():
    from keras_initlab.statistics import observe

    model = network(depth=1)
    report = compare(propagate(model), observe(model, np.ones((4, WIDTH), "float32")))
    assert all(row["measured gradient"] is None and row["gradient ratio"] is None for row in report)
    assert all(row["predicted gradient"] is not None for row in report)
    assert "measured gradient" not in str(report)
    assert "predicted gradient" in str(report)


def test_layers_in_only_one_of_the_two_are_named():
    from keras_initlab.statistics import observe

    model = network(depth=2)
    measured = observe(model, np.ones((4, WIDTH), "float32"), layers="hidden")
    predicted = propagate(model)
    assert "Only predicted: net/head." in compare(predicted, measured).notes
    assert "Only measured: net/head." in compare(measured, predicted).notes


def test_what_is_no_profile():
    predicted = propagate(network(depth=1))
    with pytest.raises(TypeError, match=r"Argument `measured` must be a Profile. Received: measured=3 of type int"):
        compare(predicted, 3)
    with pytest.raises(TypeError, match="Argument `predicted` must be a Profile"):
        compare(None, predicted)
    with pytest.raises(TypeError, match="Argument `names` must be two different strings"):
        compare(predicted, predicted, names=("a", "a"))


def test_profiles_of_different_networks():
    one = propagate(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="one")], name="net"))
    other = propagate(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="other")], name="net"))
    with pytest.raises(ValueError, match=r"no layer in common\. Received: layers net/one and net/other"):
        compare(one, other)


def test_the_example_shows_the_factors_of_glorot_and_bengio(capsys):
    path = Path(__file__).parents[2] / "examples" / "predicted_and_measured.py"
    reports = runpy.run_path(str(path))["main"]()
    first, last = reports["Glorot"]["net/tanh_0"], reports["Glorot"]["net/head"]
    assert 0.3 < first["measured gradient"] / last["measured gradient"] < 0.6
    first, last = reports["twice Glorot"]["net/tanh_0"], reports["twice Glorot"]["net/head"]
    assert 4 < first["measured gradient"] / last["measured gradient"] < 8
    for title, factor in (("Glorot", 1.0), ("twice Glorot", 4.0)):
        for row in reports[title]:
            assert row["n_in·Var(W)"] == pytest.approx(factor, rel=0.03)
            assert row["std ratio"] == pytest.approx(1.0, abs=0.03)
            assert row["gradient ratio"] == pytest.approx(1.0, abs=0.03)
    assert "n_out·Var(W)" in capsys.readouterr().out
