"""Images to learn: scikit-learn's digits, which come with it, or what keras.datasets fetches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Images", "images"]

Array = npt.NDArray[Any]


class Images(NamedTuple):
    """Images as rows, each pixel shifted and scaled to mean 0 and variance 1 over all of them, and their labels.

    Attributes:
        x: (examples, pixels), float32, to train on.
        y: their labels, int64, 0 to 9.
        test_x: a quarter of the digits; what keras.datasets calls the test images.
        test_y: their labels.
    """

    x: Array
    y: Array
    test_x: Array
    test_y: Array


def images(dataset: str, seed: int = 0) -> Images:
    """The images of a data set, the training images in an order made from the seed.

    Raises:
        ImportError: scikit-learn is not installed.
        ConnectionError: keras.datasets could not fetch them.
    """
    if dataset == "digits":
        x, y, test_x, test_y = _digits()
    else:
        x, y, test_x, test_y = _fetched(dataset)
    mean, std = x.mean(), x.std()
    order = np.random.default_rng((seed, 0)).permutation(len(x))
    x, test_x = ((a - mean) / std for a in (x[order], test_x))
    return Images(x.astype("float32"), y[order].astype("int64"), test_x.astype("float32"), test_y.astype("int64"))


def _digits() -> tuple[Array, Array, Array, Array]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The digits come with scikit-learn, which is not installed: pip install 'keras_initlab[lab]'."
        ) from error
    x, y = load_digits(return_X_y=True)
    # In the file's own order: shuffled, images by the same hand would stand on both sides.
    return x[450:], y[450:], x[:450], y[:450]


def _fetched(dataset: str) -> tuple[Array, Array, Array, Array]:
    import keras

    try:
        (x, y), (test_x, test_y) = getattr(keras.datasets, dataset).load_data()
    except Exception as error:
        raise ConnectionError(
            f"dataset={dataset!r} could not be fetched by keras.datasets: {error} Use dataset='digits', which needs no "
            "network."
        ) from error
    return x.reshape(len(x), -1) / 255, y, test_x.reshape(len(test_x), -1) / 255, test_y
