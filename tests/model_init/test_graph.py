"""A traced graph is the model: run call by call on real data, it gives the model's own outputs."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initlab.model_init.graph import Value, check_built, trace


def execute(graph, *arguments):
    """Every call in order, on real tensors; a call before its inputs is a KeyError."""
    known = dict(zip(graph.inputs, map(ops.convert_to_tensor, keras.tree.flatten(arguments)), strict=True))

    def real(leaf):
        return known[leaf] if isinstance(leaf, Value) else leaf

    for call in graph.calls:
        args, kwargs = keras.tree.map_structure(real, (call.args, call.kwargs))
        results = keras.tree.flatten(call.operation(*args, **kwargs))
        for value, result in zip(call.outputs, results, strict=True):
            assert len(result.shape) == len(value.shape)
            assert all(known_size in (None, size) for known_size, size in zip(value.shape, result.shape, strict=True))
            assert keras.backend.standardize_dtype(result.dtype) == value.dtype
        known.update(zip(call.outputs, results, strict=True))
    return [ops.convert_to_numpy(known[value]) for value in graph.outputs]


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


class Block(layers.Layer):
    """Keyword tensors, a training argument, and layers in a list."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(units, "relu")
        self.rest = [layers.Dropout(0.5), keras.Sequential([layers.Dense(units)])]

    def build(self, x_shape, other_shape=None):
        self.first.build(x_shape)
        self.rest[1].build((*x_shape[:-1], self.first.units))

    def call(self, x, training=False, *, other=None):
        hidden = self.first(x)
        for layer in self.rest:
            hidden = layer(hidden, training=training)
        return hidden if other is None else hidden * other


class ByCall(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = {"a": layers.Dense(4), "b": Block(4)}
        self.inner = keras.Sequential([layers.Dense(3, "tanh"), layers.LayerNormalization()])

    def call(self, x):
        x = self.blocks["a"](x)
        return {"out": self.inner(x + self.blocks["b"](x)), "raw": x}


class TwoArguments(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = layers.Dense(3), layers.Dense(3)

    def build(self, left_shape, right_shape):
        self.one.build(left_shape)
        self.two.build(right_shape)

    def call(self, left, right):
        return ops.tanh(self.one(left)) - self.two(right)


class OfShapes(keras.Model):
    """Takes what its function takes; built by shapes."""

    def __init__(self):
        super().__init__()
        self.one, self.two = layers.Dense(3), layers.Dense(3)

    def build(self, shapes):
        shapes = shapes.values() if isinstance(shapes, dict) else shapes
        for layer, shape in zip((self.one, self.two), shapes, strict=True):
            layer.build(shape)

    def call(self, both):
        one, two = both.values() if isinstance(both, dict) else both
        return self.one(one) * self.two(two)


def sequential():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu"), layers.Dropout(0.5), layers.Dense(2)])


def deferred():
    model = keras.Sequential([layers.Dense(3), layers.BatchNormalization(), layers.ReLU()])
    model(random(2, 4))
    return model


def branches():
    a, b = keras.Input((4,), name="z"), keras.Input((3,), name="a")
    left, right = layers.Dense(5)(a), layers.Dense(5)(b)
    both = layers.Concatenate()([right, layers.Add()([left, right])])
    return keras.Model([a, b], [layers.Dense(2)(both), left, ops.exp(right)])


def dictionaries():
    z, a = keras.Input((4,), name="z"), keras.Input((3,), name="a")
    sides = {"y": layers.Dense(2)(z) + layers.Dense(2)(a), "b": layers.Dense(3)(a)}
    return keras.Model({"z": z, "a": a}, sides)


def named_to_list():
    """A nested model that takes a list, called with a dictionary in another order."""
    z, a = keras.Input((4,), name="z"), keras.Input((4,), name="a")
    inner = keras.Model([z, a], layers.Dense(2)(z) - a[:, :2])
    first, second = keras.Input((4,)), keras.Input((4,))
    return keras.Model([first, second], inner({"a": second, "z": first}))


def shared():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, "tanh", name="within")], name="twice")
    layer = layers.Dense(4, name="again")
    x = keras.Input((4,))
    return keras.Model(x, layer(inner(layer(inner(x)))))


def nested():
    """A Sequential in a subclassed model in a functional one."""
    inner = ByCall(name="by_call")
    inner(random(2, 5))
    x = keras.Input((5,))
    return keras.Model(x, layers.Dense(2)(inner(x)["out"]))


def keyword_tensors():
    x, y = keras.Input((4,)), keras.Input((6,))
    hidden = Block(6)(x, other=y, training=False)
    return keras.Model([x, y], hidden)


def operations():
    x = keras.Input((3, 4))
    y = ops.concatenate([x[:, ::2], ops.mean(x, axis=1, keepdims=True) * 2.0 + 1.0], axis=1)
    q, r = ops.split(y, 2, axis=-1)
    return keras.Model(x, ops.matmul(ops.transpose(q, (0, 2, 1)), r) / ops.maximum(ops.abs(x[:, :1, :2]), 0.1))


def attention():
    x = keras.Input((5, 6))
    masked = layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    return keras.Model(x, layers.Bidirectional(layers.GRU(3, return_sequences=True))(masked))


def masked():
    ids = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(7, 4, mask_zero=True)(ids)
    return keras.Model(ids, layers.LSTM(3)(hidden))


def subclassed_by_call():
    model = ByCall()
    model(random(2, 5))
    return model


def two_arguments():
    model = TwoArguments()
    model(random(2, 4), random(2, 3))
    return model


def by_shapes(kind):
    model = OfShapes()
    model.build({"a": (None, 4), "b": (None, 3)} if kind is dict else [(None, 4), (None, 3)])
    return model


def half():
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(2, dtype="mixed_bfloat16")(layers.Dense(4)(x)))


IDS = np.array([[1, 2, 0, 0, 0], [3, 4, 5, 6, 1]])
MODELS = {
    "sequential": (sequential, (random(3, 4),)),
    "deferred": (deferred, (random(2, 4),)),
    "branches": (branches, ([random(2, 4), random(2, 3)],)),
    "dictionaries": (dictionaries, ({"z": random(2, 4), "a": random(2, 3)},)),
    "named to list": (named_to_list, ([random(2, 4), random(2, 4) + 1],)),
    "shared": (shared, (random(2, 4),)),
    "nested": (nested, (random(2, 5),)),
    "keyword tensors": (keyword_tensors, ([random(2, 4), random(2, 6)],)),
    "operations": (operations, (random(2, 3, 4),)),
    "attention": (attention, (random(2, 5, 6),)),
    "masked": (masked, (IDS,)),
    "subclassed by call": (subclassed_by_call, (random(2, 5),)),
    "two arguments": (two_arguments, (random(2, 4), random(2, 3))),
    "by shapes": (lambda: by_shapes(list), ([random(2, 4), random(2, 3)],)),
    "by shapes in a dictionary": (lambda: by_shapes(dict), ({"a": random(2, 4), "b": random(2, 3)},)),
    "half": (half, (random(2, 4),)),
}
each_model = pytest.mark.parametrize(("make", "data"), MODELS.values(), ids=MODELS)


@each_model
def test_the_calls_give_the_models_outputs_bit_for_bit(make, data):
    model = make()
    expected = [ops.convert_to_numpy(y) for y in keras.tree.flatten(model(*data))]
    graph = trace(model)
    assert not any(call.opaque for call in graph.calls)
    for got, wanted in zip(execute(graph, *data), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@each_model
def test_places_are_unique_and_models_are_looked_into(make, data):
    graph = trace(make())
    assert len({call.place for call in graph.calls}) == len(graph.calls) > 0
    assert not any(isinstance(call.operation, (keras.Model, Block)) for call in graph.calls)


@each_model
def test_the_model_is_left_as_it_was(make, data):
    model = make()

    def state():
        each = model._flatten_layers()
        return (
            [(id(v), ops.convert_to_numpy(v).tolist()) for v in model.variables],
            [(list(layer._inbound_nodes), list(layer._outbound_nodes), layer.built) for layer in each],
            [id(x) for x in keras.tree.flatten(getattr(model, "output", None))] if hasattr(model, "inputs") else None,
            len(model.losses),
        )

    before = state()
    trace(model)
    assert state() == before


def test_the_executor_sees_a_wrong_graph():
    model = branches()
    graph = trace(model)
    swapped = type(graph)(graph.inputs, (graph.outputs[1], *graph.outputs[1:]), graph.calls)
    data = [random(2, 4), random(2, 3)]
    assert execute(swapped, data)[0].shape != model(data)[0].shape
    with pytest.raises(KeyError, match="Value"):
        execute(type(graph)(graph.inputs, graph.outputs, graph.calls[::-1]), data)


def test_places_and_second_calls():
    assert [call.place for call in trace(shared()).calls] == ["twice/within", "again", "twice/within#2", "again#2"]
    places = [call.place for call in trace(nested()).calls]
    assert places == [
        "by_call/dense",
        "by_call/block/dense",
        "by_call/block/dropout",
        "by_call/block/sequential/dense",
        "by_call/add",
        "by_call/sequential/dense",
        "by_call/sequential/layer_normalization",
        "dense",
    ]


def test_consumers():
    graph = trace(branches())
    found = graph.consumers()
    assert [call.place for call in found[graph.outputs[2]]] == []
    right = next(
        call.outputs[0] for call in graph.calls if call.operation.name.startswith("exp") for call in graph.calls[:2]
    )
    assert right in found
    for value, calls in found.items():
        assert all(value in call.inputs for call in calls)
        assert len(set(calls)) == len(calls)


class Opaque(layers.Layer):
    """Leaves Keras for NumPy after a draw, with layers inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.seeds = layers.Dense(3), keras.random.SeedGenerator(1)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        noise = keras.random.normal((3,), seed=self.seeds)
        return self.dense(x) + np.asarray(ops.convert_to_numpy(self.dense(x))).mean() + noise

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], 3), dtype=self.compute_dtype)


class TestOpaque:
    def test_one_call_with_the_reason_and_the_shapes(self):
        x = keras.Input((4,))
        layer = Opaque(name="opaque")
        model = keras.Model(x, layers.Dense(2)(layer(layers.Dense(4)(x))))
        seed = ops.convert_to_numpy(layer.seeds.state).tolist()
        graph = trace(model)
        assert [call.place for call in graph.calls] == ["dense", "opaque", "dense_1"]
        call = graph.calls[1]
        assert call.opaque
        assert "\n" not in call.opaque
        assert (call.inputs[0].shape, call.outputs[0].shape) == ((None, 4), (None, 3))
        assert call.inputs == graph.calls[0].outputs
        assert ops.convert_to_numpy(layer.seeds.state).tolist() == seed

    def test_calls_before_the_failure_are_not_left_in_the_graph(self):
        class Outer(layers.Layer):
            def __init__(self):
                super().__init__()
                self.shared, self.bad = layers.Dense(4, name="shared"), Opaque(name="bad")

            def build(self, shape):
                self.shared.build(shape)
                self.bad.build(shape)

            def call(self, x):
                return self.bad(self.shared(x))

            def compute_output_spec(self, x):
                return self.bad.compute_output_spec(x)

        x, outer = keras.Input((4,)), Outer()
        model = keras.Model(x, layers.Dense(4)(outer(x)))
        graph = trace(model)
        assert [call.place for call in graph.calls] == ["outer/shared", "outer/bad", "dense"]
        assert [bool(call.opaque) for call in graph.calls] == [False, True, False]

    def test_a_whole_model(self):
        class Eager(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(3)

            def build(self, shape):
                self.dense.build(shape)

            def call(self, x):
                y = self.dense(x)
                return y if float(ops.sum(y)) > 0 else -y

        model = Eager()
        model.build((None, 4))
        graph = trace(model)
        assert [call.place for call in graph.calls] == ["eager"]
        assert graph.calls[0].operation is model
        assert graph.calls[0].opaque
        assert graph.calls[0].inputs == graph.inputs

    def test_the_losses_of_a_layer_stay(self):
        class Loss(layers.Layer):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(3)

            def build(self, shape):
                self.dense.build(shape)

            def call(self, x):
                self.add_loss(ops.mean(ops.square(x)))
                return self.dense(x)

        x = keras.Input((4,))
        model = keras.Model(x, Loss()(x))
        model(random(2, 4))
        before = len(model.losses)
        assert trace(model).calls[0].outputs[0].shape == (None, 3)
        assert len(model.losses) == before


class TestErrors:
    @pytest.mark.parametrize("model", [None, "model", [sequential()], layers.Dense])
    def test_no_model(self, model):
        with pytest.raises(TypeError, match=r"Argument `model` must be a Keras model\. Received: .* of type"):
            check_built(model)
        with pytest.raises(TypeError, match=r"Argument `model` must be a Keras model"):
            trace(model)

    @pytest.mark.parametrize(
        "make", [lambda: keras.Sequential([layers.Dense(2)], name="late"), lambda: ByCall(name="late")]
    )
    def test_not_built(self, make):
        with pytest.raises(ValueError, match=r"must be built.*'late', which is not\. Call model\.build\(input_shape\)"):
            trace(make())

    def test_no_known_shape(self):
        model = subclassed_by_call()
        model._build_shapes_dict = None
        with pytest.raises(ValueError, match=r"can't be traced, since it does not know the shape of its inputs"):
            trace(model)
