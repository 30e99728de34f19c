"""A deep sigmoid network that does not learn from small weights learns after it is pre-trained.

Five sigmoid layers with weights N(0, 0.05²): a sigmoid passes on at most a quarter of its gradient, and each layer
about a tenth of it here, so that the first one learns nothing, and the last one sees the same for every digit. Trained
layer by layer as autoencoders, without the labels, the layers pass the digits on, and the same training succeeds.
Both networks have the same number of passes over the data in all.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_initlab as kil

DEPTH, WIDTH = 5, 48
PRETRAINING, FINE_TUNING = 3, 5
PASSES = DEPTH * PRETRAINING + FINE_TUNING


def digits(seed: int) -> tuple[Any, Any, Any, Any]:
    """1347 images and their labels to train on, and 450 to test with."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    images, labels = (images[order] / 16).astype("float32"), labels[order]
    return images[450:], labels[450:], images[:450], labels[:450]


def network(seed: int) -> Any:
    """A sigmoid network with small weights."""
    small = [kil.RandomNormal(stddev=0.05, seed=100 * seed + i) for i in range(DEPTH + 1)]
    hidden = [keras.layers.Dense(WIDTH, activation="sigmoid", kernel_initializer=small[i]) for i in range(DEPTH)]
    head = keras.layers.Dense(10, activation="softmax", kernel_initializer=small[DEPTH], name="head")
    return keras.Sequential([keras.Input((64,)), *hidden, head])


def accuracy(model: Any, data: tuple[Any, Any, Any, Any], epochs: int) -> float:
    """Share of the test images that are told right after training."""
    images, labels, test_images, test_labels = data
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, epochs=epochs, shuffle=False, verbose=0)
    return float(model.evaluate(test_images, test_labels, verbose=0)[1])


def main(seed: int = 0) -> dict[str, float]:
    """Return the accuracy without pre-training and with it."""
    data = digits(seed)
    without = accuracy(network(seed), data, PASSES)
    model = network(seed)
    report = kil.pretrain(model, data[0], epochs=PRETRAINING, seed=seed)
    with_ = accuracy(model, data, FINE_TUNING)
    print(report)
    print(f"\nAccuracy on digits that were not trained on, after {PASSES} passes over the data")
    print(f"{PASSES} of training:                                   {without:.2f}")
    print(f"{DEPTH} layers × {PRETRAINING} of pre-training, then {FINE_TUNING} of training: {with_:.2f}")
    return {"without": without, "with": with_}


if __name__ == "__main__":
    main()
