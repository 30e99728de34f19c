"""What comes after a weight: the activation its gain follows, and the sum its output goes into."""

import functools

import keras
import pytest
from keras import layers, ops

from keras_initlab.model_init.following import Following, activation_of, after_weights
from keras_initlab.model_init.graph import trace
from keras_initlab.model_init.places import layer_places
from keras_initlab.theory import gain

NOTHING = Following()


def following(model):
    """By place."""
    after = after_weights(trace(model))
    return {place: after[id(layer)] for place, layer in layer_places(model) if id(layer) in after}


def functional(build, *shapes):
    """A functional model of what a function makes of its inputs."""
    inputs = [keras.Input(shape) for shape in shapes or [(8,)]]
    return keras.Model(inputs, build(*inputs))


def after(*behind, end=True):
    """What comes after the Dense layer "first", with these layers or functions behind it, and maybe a last layer."""

    def build(x):
        x = layers.Dense(8, name="first")(x)
        for each in behind:
            x = each(x)
        return layers.Dense(2, name="last")(x) if end else x

    return following(functional(build))["first"]


class TestActivation:
    @pytest.mark.parametrize("name", ["relu", "tanh", "selu", "gelu", "sigmoid", "softplus"])
    @pytest.mark.parametrize("how", ["fused", "layer", "function"])
    def test_fused_next_layer_or_function(self, name, how):
        function = getattr(keras.activations, name)
        if how == "fused":
            found = following(functional(lambda x: layers.Dense(2)(layers.Dense(8, name, name="first")(x))))["first"]
        else:
            found = after(layers.Activation(name) if how == "layer" else function)
        assert found == Following(function)

    def test_none_before_weights_and_at_the_end(self):
        assert after() == NOTHING
        assert after(end=False) == NOTHING
        assert after(layers.Activation("linear")) == NOTHING

    @pytest.mark.parametrize(
        "between",
        [
            layers.Reshape((4, 2)),
            layers.Dropout(0.5),
            layers.BatchNormalization(),
            layers.LayerNormalization(),
            layers.GroupNormalization(2),
            layers.RMSNormalization(),
            layers.GaussianNoise(0.1),
            layers.Rescaling(0.5),
            layers.ActivityRegularization(0.1),
            lambda x: layers.Flatten()(layers.Permute((2, 1))(layers.Reshape((4, 2))(x))),
            lambda x: layers.GlobalAveragePooling1D()(layers.RepeatVector(3)(x)),
            lambda x: layers.Flatten()(layers.MaxPooling1D(2)(layers.RepeatVector(4)(x))),
            lambda x: layers.Concatenate()([x, x]),
            lambda x: ops.concatenate([x[:, :4], x[:, 4:]], axis=-1),
            lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
            lambda x: ops.mean(ops.stack([x, x], axis=1), axis=1),
            lambda x: 0.3 * x / 2.0,
        ],
    )
    def test_behind_what_passes_the_signal_on(self, between):
        # The models of one parametrization share the layer; a layer is built for one shape only.
        assert after(between, layers.ReLU()).activation.get_config()["max_value"] is None
        assert after(between, end=False) == NOTHING

    @pytest.mark.parametrize(
        "stops", [lambda x: x * ops.tanh(layers.Dense(8)(x)), lambda x: ops.maximum(x[:, :4], x[:, 4:])]
    )
    def test_not_behind_what_makes_another_signal(self, stops):
        assert after(stops, layers.ReLU()).activation is None

    def test_the_next_weights_come_before_an_activation_behind_a_sum(self):
        """A stream of linear residual blocks, and one activation at its end."""

        def build(x):
            x = layers.Dense(8, name="stem")(x)
            for number in range(2):
                x = x + layers.Dense(8, name=f"out{number}")(layers.Dense(8, "tanh")(x))
            return layers.Dense(2)(ops.relu(x))

        found = following(functional(build))
        assert [found[name].activation for name in ("stem", "out0")] == [None, None]
        assert found["out1"].activation is keras.activations.relu

    @pytest.mark.parametrize(
        ("layer", "same"),
        [
            (layers.LeakyReLU(0.3), functools.partial(keras.activations.leaky_relu, negative_slope=0.3)),
            (layers.ReLU(max_value=6), "relu6"),
            (layers.ELU(0.5), functools.partial(keras.activations.elu, alpha=0.5)),
            (layers.PReLU("zeros"), "relu"),
            (layers.PReLU(keras.initializers.Constant(0.3)), layers.LeakyReLU(0.3)),
            (lambda x: ops.leaky_relu(x, 0.3), layers.LeakyReLU(0.3)),
            (lambda x: ops.gelu(x, approximate=True), functools.partial(keras.activations.gelu, approximate=True)),
            (lambda x: ops.elu(x, 0.5), layers.ELU(0.5)),
            (lambda x: ops.hard_shrink(x, 0.7), functools.partial(keras.activations.hard_shrink, threshold=0.7)),
            (lambda x: keras.activations.relu(x, max_value=6.0), "relu6"),
            (keras.activations.exponential, "exponential"),
            (ops.silu, "silu"),
            (ops.softsign, "softsign"),
        ],
    )
    def test_slopes_and_thresholds_count(self, layer, same):
        # PReLU's slope is a float32 mean.
        assert gain(after(layer).activation) == pytest.approx(gain(same), rel=1e-6)

    def test_that_gain_tells_those_apart(self):
        assert gain(layers.LeakyReLU(0.3)) != pytest.approx(gain("leaky_relu"), rel=1e-3)
        assert gain(functools.partial(keras.activations.gelu, approximate=True)) != pytest.approx(
            gain("gelu"), rel=1e-6
        )

    def test_what_is_more_than_an_activation_is_none(self):
        assert activation_of(layers.Dense(2, "relu")) is None
        assert activation_of(layers.Dropout(0.5)) is None

    def test_recurrent_cells_have_none(self):
        model = functional(lambda x: ops.relu(layers.LSTM(4)(x)), (5, 3))
        assert following(model)["lstm/lstm_cell"] == NOTHING

    def test_inside_wrappers(self):
        model = functional(lambda x: ops.relu(layers.TimeDistributed(layers.Dense(4))(x)), (5, 3))
        assert following(model)["time_distributed/dense"].activation is keras.activations.relu
        inner = keras.Sequential([layers.Dense(4, name="inner"), layers.Dense(4, name="last")])
        found = following(functional(lambda x: ops.relu(layers.TimeDistributed(inner)(x)), (5, 3)))
        assert found["time_distributed/sequential/inner"] == NOTHING
        assert found["time_distributed/sequential/last"].activation is keras.activations.relu
        model = functional(lambda x: layers.Dense(1)(ops.relu(layers.SpectralNormalization(layers.Dense(4))(x))))
        assert following(model)["spectral_normalization/dense"].activation is keras.activations.relu


class TestHeads:
    @pytest.mark.parametrize("name", ["softmax", "sigmoid", "log_softmax"])
    @pytest.mark.parametrize("behind", [[], [layers.Dropout(0.1)], [layers.Reshape((2, 4))]])
    def test_probabilities_at_the_end_follow_nothing(self, name, behind):
        assert after(layers.Activation(name), *behind, end=False) == NOTHING
        assert following(functional(lambda x: layers.Dense(8, name, name="first")(x)))["first"] == NOTHING

    def test_other_activations_at_the_end_count(self):
        assert after(ops.tanh, end=False).activation is keras.activations.tanh

    def test_a_sigmoid_inside_counts(self):
        """Squeeze and excite."""

        def build(x):
            squeezed = layers.Dense(2, "relu", name="squeeze")(layers.GlobalAveragePooling2D()(x))
            return layers.Dense(1, name="end")(
                layers.Flatten()(x * ops.reshape(layers.Dense(3, "sigmoid", name="excite")(squeezed), (-1, 1, 1, 3)))
            )

        found = following(functional(build, (4, 4, 3)))
        assert found["excite"].activation is keras.activations.sigmoid
        assert found["squeeze"].activation is keras.activations.relu

    def test_each_of_several_heads(self):
        def build(x):
            x = layers.Dense(4, "relu", name="trunk")(x)
            return [layers.Dense(3, "softmax", name="a")(x), layers.Dense(3, "tanh", name="b")(x)]

        found = following(functional(build))
        assert [found[name].activation for name in ("trunk", "a", "b")] == [
            keras.activations.relu,
            None,
            keras.activations.tanh,
        ]


def conv(name, **options):
    return layers.Conv1D(4, 3, padding="same", name=name, **options)


def post_activation(x, blocks, projection=()):
    x = layers.ReLU()(conv("stem")(x))
    for n in range(blocks):
        branch = conv(f"last{n}")(layers.ReLU()(conv(f"inner{n}")(x)))
        x = layers.ReLU()(layers.Add()([conv(f"projection{n}")(x) if n in projection else x, branch]))
    return layers.Dense(2, "softmax", name="head")(layers.GlobalAveragePooling1D()(x))


def pre_activation(x, blocks, projection=()):
    x = conv("stem")(x)
    for n in range(blocks):
        branch = conv(f"last{n}")(ops.relu(conv(f"inner{n}")(ops.relu(x))))
        x = (conv(f"projection{n}")(x) if n in projection else x) + branch
    return layers.Dense(2, "softmax", name="head")(layers.GlobalAveragePooling1D()(ops.relu(x)))


class TestSums:
    @pytest.mark.parametrize("network", [pre_activation, post_activation])
    @pytest.mark.parametrize("blocks", [1, 2, 5])
    def test_identity_shortcuts(self, network, blocks):
        found = following(functional(lambda x: network(x, blocks), (6, 4)))
        for name, each in found.items():
            assert (each.terms, each.residual_sums) == (1, blocks if name.startswith("last") else 0), name
            assert (each.activation is None) == (name == "head"), name

    @pytest.mark.parametrize("network", [pre_activation, post_activation])
    def test_projection_shortcuts(self, network):
        found = following(functional(lambda x: network(x, 4, projection={0, 2}), (6, 4)))
        sums = {name: (each.terms, each.residual_sums) for name, each in found.items()}
        assert {name for name, each in sums.items() if each == (2, 0)} == {
            "last0",
            "last2",
            "projection0",
            "projection2",
        }
        assert {name for name, each in sums.items() if each == (1, 2)} == {"last1", "last3"}
        assert all(found[name].activation is not None for name in found if name != "head")

    @pytest.mark.parametrize("add", ["operators", "layer", "one after the other"])
    def test_branches_beside_each_other(self, add):
        def build(x):
            x = layers.Dense(8, name="stem")(x)
            a, b, c = (layers.Dense(8, name=name)(x) for name in "abc")
            total = {
                "operators": lambda: a + (b + c),
                "layer": lambda: layers.Add()([a, b, c]),
                "one after the other": lambda: layers.Add()([layers.Add()([a, b]), c]),
            }[add]()
            return layers.Dense(2, name="end")(ops.tanh(total))

        found = following(functional(build))
        assert {name: each.terms for name, each in found.items()} == {"stem": 1, "a": 3, "b": 3, "c": 3, "end": 1}
        assert all(found[name] == Following(keras.activations.tanh, 3) for name in "abc")

    @pytest.mark.parametrize("order", ["x + (a + b)", "(x + a) + b", "(a + b) + x"])
    def test_branches_beside_each_other_and_beside_what_passes_by(self, order):
        """Attention and perceptron side by side, twice: two terms in each of two residual sums."""

        def build(x):
            for n in range(2):
                a, b = (layers.Dense(8, "relu", name=f"{name}{n}")(x) for name in "ab")
                x = eval(order, {"x": x, "a": a, "b": b})
            return layers.Dense(2, name="end")(x)

        found = following(functional(build))
        assert {(each.terms, each.residual_sums) for name, each in found.items() if name != "end"} == {(2, 2)}

    def test_a_sum_inside_a_branch(self):
        def build(x):
            x = layers.Dense(8, name="stem")(x)
            inside = ops.tanh(layers.Dense(8, name="a")(x) + layers.Dense(8, name="b")(x))
            return layers.Dense(2, name="end")(x + inside)

        found = following(functional(build))
        assert found["a"] == found["b"] == Following(keras.activations.tanh, 2, 1)

    def test_inside_out_a_projection_after_a_residual_sum_does_not_count_twice(self):
        def build(x):
            x = x + layers.Dense(8, name="a")(x)
            return layers.Dense(8, name="b")(x) + layers.Dense(8, name="c")(x)

        assert following(functional(build)) == {
            "a": Following(None, 1, 1),
            "b": Following(None, 2),
            "c": Following(None, 2),
        }

    def test_the_input_itself_may_pass_by(self):
        found = following(functional(lambda x: x + layers.Dense(8, "relu", name="first")(x)))
        assert found["first"] == Following(keras.activations.relu, 1, 1)

    def test_a_sum_with_something_else_is_not_residual(self):
        found = following(functional(lambda x, y: y + layers.Dense(8, name="first")(x), (8,), (8,)))
        assert found["first"] == NOTHING
        found = following(functional(lambda x, y: layers.Dense(8)(y) + layers.Dense(8, name="first")(x), (8,), (8,)))
        assert found["first"] == Following(None, 2)

    def test_tokens_and_positions_are_not_residual(self):
        def build(x):
            positions = layers.Embedding(5, 8)(ops.arange(5))
            x = layers.Dense(8, name="patches")(x) + positions
            return x + layers.Dense(8, name="block")(x)

        found = following(functional(build, (5, 4)))
        assert found["patches"] == NOTHING
        assert found["block"] == Following(None, 1, 1)

    @pytest.mark.parametrize("combine", [lambda x: x + x, lambda x: x - ops.mean(x, 1, keepdims=True), lambda x: 1 - x])
    def test_a_signal_and_itself(self, combine):
        assert after(combine, ops.relu) == Following(keras.activations.relu)

    def test_concatenation_is_no_sum(self):
        """DenseNet."""

        def build(x):
            for n in range(3):
                x = ops.concatenate([x, layers.Dense(4, name=f"d{n}")(ops.relu(layers.BatchNormalization()(x)))], -1)
            return layers.Dense(2, name="end")(ops.relu(x))

        found = following(functional(build))
        assert {(each.terms, each.residual_sums) for each in found.values()} == {(1, 0)}
        assert found["d0"].activation is keras.activations.relu

    def test_a_shortcut_over_several_layers_and_one_through_a_pool(self):
        def build(x):
            down = layers.AveragePooling1D(2)(x)
            return layers.Dense(2)(ops.relu(down + conv("last", strides=2)(x)))

        found = following(functional(build, (6, 4)))
        assert found["last"] == Following(keras.activations.relu, 1, 1)

        def unet(x):
            encoded = conv("encode", activation="relu")(x)
            deep = conv("deep", activation="relu")(layers.MaxPooling1D(2)(encoded))
            return conv("end")(encoded + layers.UpSampling1D(2)(conv("up")(deep)))

        sums = {name: each.residual_sums for name, each in following(functional(unet, (6, 4))).items()}
        assert sums == {"encode": 0, "deep": 0, "up": 1, "end": 0}


def transformer(x, blocks, norm):
    def add(x, branch):
        def call(x):
            if norm == "pre":
                return x + branch(layers.LayerNormalization()(x))
            return layers.LayerNormalization()(x + branch(x))

        return call(x)

    x = layers.Dense(8, name="stem")(x)
    for n in range(blocks):
        attention = layers.MultiHeadAttention(2, 4, name=f"attention{n}")
        inner, last = layers.Dense(16, "gelu", name=f"inner{n}"), layers.Dense(8, name=f"last{n}")
        x = add(x, lambda h, attention=attention: layers.Dropout(0.1)(attention(h, h)))
        x = add(x, lambda h, inner=inner, last=last: last(inner(h)))
    return layers.Dense(3, "softmax", name="head")(layers.GlobalAveragePooling1D()(x))


class TestTransformers:
    @pytest.mark.parametrize("norm", ["pre", "post"])
    @pytest.mark.parametrize("blocks", [1, 3])
    def test_two_sums_a_block(self, norm, blocks):
        found = following(functional(lambda x: transformer(x, blocks, norm), (5, 6)))
        for name, each in found.items():
            expected = 2 * blocks if "last" in name or name.endswith("attention_output") else 0
            assert (each.terms, each.residual_sums) == (1, expected), name
            assert each.activation is (keras.activations.gelu if "inner" in name else None), name
        assert {f"attention0/{part}" for part in ("query", "key", "value", "attention_output")} < set(found)

    def test_a_branch_that_is_normalized_last_is_not_scaled_by_its_weights(self):
        found = after(lambda x: x + layers.LayerNormalization()(layers.Dense(8, name="inside")(x)))
        assert found == NOTHING
        model = functional(lambda x: x + layers.LayerNormalization()(layers.Dense(8, name="inside")(x)))
        assert following(model)["inside"] == NOTHING

    def test_grouped_attention(self):
        def build(x):
            return x + layers.GroupQueryAttention(4, 4, 2, name="attention")(x, x)

        sums = {name: each.residual_sums for name, each in following(functional(build, (5, 8))).items()}
        assert sums["attention/attention_output"] == 1
        assert sum(sums.values()) == 1


class Block(keras.layers.Layer):
    """A residual block of the user's own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.last = layers.Dense(units, name="inner"), layers.Dense(units, name="last")

    def build(self, shape):
        self.inner.build(shape)
        self.last.build(shape)

    def call(self, x, training=False):
        return x + self.last(ops.relu(self.inner(x)))


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks, self.head = layers.Dense(4), [Block(4), Block(4)], layers.Dense(2, "softmax")

    def call(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class TestInside:
    def test_blocks_of_ones_own_and_subclassed_models(self):
        model = Net()
        model(ops.zeros((1, 3)))
        found = following(model)
        assert found["block/last"] == found["block_1/last"] == Following(None, 1, 2)
        assert found["block/inner"] == Following(keras.activations.relu)
        assert found["dense"] == found["dense_1"] == NOTHING

    def test_nested_and_sequential(self):
        nested = functional(lambda x: x + layers.Dense(8, name="last")(x))
        model = keras.Sequential([keras.Input((8,)), nested, layers.ReLU(), keras.Sequential([Block(8)])])
        found = following(model)
        assert found["functional/last"].residual_sums == found["sequential/block/last"].residual_sums == 2
        assert isinstance(found["functional/last"].activation, layers.ReLU)

    def test_of_a_shared_layer_the_first_call_counts(self):
        def build(x):
            shared = layers.Dense(8, name="first")
            return shared(ops.tanh(x + shared(x)))

        assert following(functional(build)) == {"first": Following(keras.activations.tanh, 1, 1)}

    def test_a_shared_block_counts_each_time(self):
        block = Block(8, name="block")
        assert following(functional(lambda x: block(block(block(x)))))["block/last"].residual_sums == 3
