"""Networks trained as one computation, against the same networks one by one in Keras."""

import keras
import numpy as np
import pytest

from keras_initlab.lab.stack import Stack, gaussian, orthogonal, projected

WIDTH = 12
DEPTHS = [3, 1, 4, 3]
SCALES = [1.0, 0.5, 1.4, 2.0]


def stack(**options):
    return Stack(DEPTHS, SCALES, width=WIDTH, activation="tanh", bias_std=0.3, seed=1, **options)


def data(examples=40):
    generator = np.random.default_rng(0)
    return generator.standard_normal((2, examples, WIDTH)).astype("float32")


def in_keras(weights):
    model = keras.Sequential([keras.Input((WIDTH,)), *(keras.layers.Dense(WIDTH, "tanh") for _ in weights)])
    model.set_weights([array for pair in weights for array in pair])
    return model


@pytest.mark.parametrize("network", range(4))
def test_outputs_are_those_of_each_network(network):
    nets, (x, _) = stack(), data()
    weights = nets.weights(network)
    assert len(weights) == DEPTHS[network]
    expected = in_keras(weights)(x).numpy()
    np.testing.assert_allclose(nets.outputs(x)[network], expected, atol=2e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_is_that_of_each_network(momentum):
    nets, (x, y), rates = stack(), data(), [0.05, 0.01, 0.02, 0.1]
    losses = nets.train(x, y, steps=12, batch=len(x), rates=rates, momentum=momentum).losses
    for network, rate in enumerate(rates):
        model = in_keras(nets.weights(network))
        # Keras takes the mean over units as well, and not the half.
        model.compile(keras.optimizers.SGD(rate * WIDTH / 2, momentum=momentum), "mse", jit_compile=False)
        seen = [model.train_on_batch(x, y) for _ in range(12)]
        np.testing.assert_allclose(losses[:, network], np.array(seen) * WIDTH / 2, rtol=2e-4)
    assert losses[-1, 0] < losses[0, 0]


def test_a_network_that_diverges_leaves_the_others_alone():
    x, y = data()
    rates = np.array([0.05, 1e30, 0.02, 0.1])
    seen = stack().train(x, y, steps=5, batch=len(x), rates=rates).losses
    calm = stack().train(x, y, steps=5, batch=len(x), rates=np.minimum(rates, 0.05)).losses
    assert not np.allclose(seen[:, 1], calm[:, 1], equal_nan=True)
    np.testing.assert_array_equal(seen[:, [0, 2]], calm[:, [0, 2]])


def test_classes_are_told_by_a_layer_of_their_own():
    x, _ = data(200)
    labels = (x[:, 0] > 0).astype("int64")
    trained = stack().train(x, labels, steps=100, batch=50, rates=0.1, momentum=0.9, test=(x, labels))
    assert trained.losses.shape == (100, 4)
    assert trained.accuracy.shape == (4,)
    assert (trained.accuracy[:3] > 0.9).all()


def test_the_laws():
    generator = np.random.default_rng(0)
    normal, rotation = gaussian(generator, 50, 40), orthogonal(generator, 50, 40)
    # 80 000 values: five standard errors of a variance are 2.5 %.
    assert normal.var() * 40 == pytest.approx(1, abs=0.025)
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(40), (50, 40, 40)), atol=1e-5
    )
    # Haar's law has mean 0 in each entry; without the signs of R the diagonal of Q has not.
    diagonal = np.diagonal(rotation, axis1=1, axis2=2)
    assert abs(diagonal.mean()) < 5 / np.sqrt(diagonal.size * 40)


@pytest.mark.parametrize("width", [8, 64, 100])
def test_projection_keeps_angles_where_there_is_room(width):
    x = np.random.default_rng(0).standard_normal((30, 64))
    h = projected(x, width, seed=3)
    assert h.shape == (30, width)
    assert np.mean(h**2) == pytest.approx(1, rel=1e-5)
    if width >= 64:
        gram, projected_gram = x @ x.T, h @ h.T
        np.testing.assert_allclose(projected_gram / projected_gram[0, 0], gram / gram[0, 0], atol=1e-4)
