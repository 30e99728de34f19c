"""Every kind of model, in every mode of training, on every kind of data; and a subset that has every pair of them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

K = keras.layers
FEATURES, WIDTH, TARGETS, BATCH = 6, 8, 3, 16
# Two executions of the train function, of which the second is looked at: its state before is known.
EXECUTIONS = 2

Outputs = list[tuple[str, Any]]


class Network(NamedTuple):
    """A model and what its layers compute one after another.

    Attributes:
        make: builds the model.
        forward: runs it layer by layer in training; path and output of each call, the model's own output last.
    """

    make: Callable[[], Any]
    forward: Callable[[Any, Any], Outputs]


def _dense(units: int, seed: int, name: str, **kwargs: Any) -> Any:
    return K.Dense(units, kernel_initializer=keras.initializers.GlorotNormal(seed=seed), name=name, **kwargs)


def _sequential() -> Any:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            _dense(WIDTH, 0, "first", activation="tanh"),
            K.LayerNormalization(name="norm"),
            _dense(TARGETS, 1, "head"),
        ]
    )


def _run_sequential(model: Any, x: Any) -> Outputs:
    found: Outputs = []
    for layer in model.layers:
        x = layer(x)
        found.append((f"{model.name}/{layer.name}", x))
    return found


def _branches() -> Any:
    inputs = keras.Input((FEATURES,))
    left = _dense(WIDTH, 0, "left", activation="relu")(inputs)
    right = K.BatchNormalization(name="norm")(_dense(WIDTH, 1, "right", use_bias=False)(inputs))
    both = K.Concatenate(name="both")([K.Add(name="sum")([left, right]), right])
    return keras.Model(inputs, _dense(TARGETS, 2, "head")(both))


def _run_branches(model: Any, x: Any) -> Outputs:
    # What lies deeper is computed first.
    right = model.get_layer("right")(x)
    norm = model.get_layer("norm")(right, training=True)
    left = model.get_layer("left")(x)
    total = model.get_layer("sum")([left, norm])
    both = model.get_layer("both")([total, norm])
    names = ("right", "norm", "left", "sum", "both", "head")
    return list(zip(names, (right, norm, left, total, both, model.get_layer("head")(both)), strict=True))


class Subclassed(keras.Model):
    def __init__(self, name: str = "subclassed") -> None:
        super().__init__(name=name)
        self.blocks = [_dense(WIDTH, seed, f"block{seed}", activation="elu") for seed in range(2)]
        self.head = _dense(TARGETS, 2, "head")

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = x + block(x) if block is not self.blocks[0] else block(x)
        return self.head(x)


def _subclassed() -> Any:
    model = Subclassed()
    model(np.zeros((1, FEATURES), "float32"))
    return model


def _run_subclassed(model: Any, x: Any) -> Outputs:
    first = model.blocks[0](x)
    second = model.blocks[1](first)
    head = model.head(first + second)
    return [(f"{model.name}/{name}", h) for name, h in (("block0", first), ("block1", second), ("head", head))]


def _nested() -> Any:
    block = keras.Sequential(
        [keras.Input((WIDTH,)), _dense(WIDTH, 1, "inner", activation="sigmoid"), K.RMSNormalization(name="norm")],
        name="block",
    )
    inputs = keras.Input((FEATURES,))
    return keras.Model(inputs, _dense(TARGETS, 2, "head")(block(_dense(WIDTH, 0, "first")(inputs))))


def _run_nested(model: Any, x: Any) -> Outputs:
    block = model.get_layer("block")
    first = model.get_layer("first")(x)
    inner = block.get_layer("inner")(first)
    norm = block.get_layer("norm")(inner)
    return [("first", first), ("block/inner", inner), ("block/norm", norm), ("head", model.get_layer("head")(norm))]


def _shared() -> Any:
    inputs, twice = keras.Input((FEATURES,)), _dense(WIDTH, 1, "twice", activation="tanh")
    return keras.Model(inputs, _dense(TARGETS, 2, "head")(twice(twice(_dense(WIDTH, 0, "first")(inputs)))))


def _run_shared(model: Any, x: Any) -> Outputs:
    first, twice = model.get_layer("first")(x), model.get_layer("twice")
    one = twice(first)
    two = twice(one)
    return [("first", first), ("twice", one), ("twice#2", two), ("head", model.get_layer("head")(two))]


class OwnStep(keras.Sequential):
    """Gradient descent by hand."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(self(x, training=True), tf.float32) - y))
            scaled = self.optimizer.scale_loss(loss)
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, weights), weights)
        return {"loss": loss}


def _own_step() -> Any:
    layers = [_dense(WIDTH, 0, "first"), K.Activation("tanh", name="bend"), _dense(TARGETS, 1, "head")]
    return OwnStep([keras.Input((FEATURES,)), *layers])


def _unbuilt() -> Any:
    return keras.Sequential([_dense(WIDTH, 0, "first", activation="softplus"), _dense(TARGETS, 1, "head")])


NETWORKS = {
    "sequential": Network(_sequential, _run_sequential),
    "branches": Network(_branches, _run_branches),
    "subclassed": Network(_subclassed, _run_subclassed),
    "nested": Network(_nested, _run_nested),
    "shared": Network(_shared, _run_shared),
    "own_step": Network(_own_step, _run_sequential),
    "unbuilt": Network(_unbuilt, _run_sequential),
}


class Batches(keras.utils.PyDataset):
    def __init__(self, x: Any, y: Any) -> None:
        super().__init__()
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x) // BATCH

    def __getitem__(self, index: int) -> Any:
        part = slice(index * BATCH, (index + 1) * BATCH)
        return self.x[part], self.y[part]


def _generated(x: Any, y: Any) -> Iterator[Any]:
    batches = Batches(x, y)
    while True:
        yield from (batches[i] for i in range(len(batches)))


DATA: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "arrays": lambda x, y: {"x": x, "y": y, "batch_size": BATCH},
    "tf.data": lambda x, y: {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)},
    "generator": lambda x, y: {"x": _generated(x, y), "steps_per_epoch": len(x) // BATCH},
    "PyDataset": lambda x, y: {"x": Batches(x, y)},
}

AXES: dict[str, tuple[Any, ...]] = {
    "network": tuple(NETWORKS),
    "jit_compile": (False, True),
    "steps_per_execution": (1, 4),
    "policy": ("float32", "mixed_float16", "mixed_bfloat16"),
    "data": tuple(DATA),
}


class Cell(NamedTuple):
    network: str
    jit_compile: bool
    steps_per_execution: int
    policy: str
    data: str


CELLS = [Cell(*values) for values in itertools.product(*AXES.values())]


def pairs(cell: Cell) -> set[Any]:
    """Every two of a cell's values, with their axes."""
    return set(itertools.combinations(zip(AXES, cell, strict=True), 2))


def covering(cells: list[Cell]) -> list[Cell]:
    """A small part of the cells in which every pair of values of two axes occurs that occurs in all.

    Greedy: each time the cell with the most pairs that are missing yet, of several the first.
    """
    missing = set().union(*map(pairs, cells))
    chosen: list[Cell] = []
    while missing:
        best = max(cells, key=lambda cell: len(pairs(cell) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return sorted(chosen, key=cells.index)


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def examples(number: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((number, FEATURES)).astype("float32")
    return x, generator.standard_normal((number, TARGETS)).astype("float32")
