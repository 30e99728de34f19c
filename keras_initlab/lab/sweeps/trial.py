"""One run of a sweep: a network is built, measured, trained and tested."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from keras_initlab.lab.images import images
from keras_initlab.lab.networks import compiled, dense_network, fit, layer_values
from keras_initlab.lab.result import key_of, versions
from keras_initlab.lab.sweeps.grid import Configuration
from keras_initlab.lab.sweeps.names import InitializerName, OptimizerName
from keras_initlab.statistics.observe import observe
from keras_initlab.statistics.profile import Profile

__all__ = ["MEASURED", "Row", "failed", "trial"]

Row = dict[str, Any]
"""A run as JSON can hold it: `key`, the configuration, `MEASURED`, `diverged`, `seconds`, `error`, `versions`."""

MEASURED = (
    "accuracy",
    "loss_first",
    "loss_last",
    "activation_std_first",
    "activation_std_last",
    "gradient_rms_first",
    "gradient_rms_last",
    "dead_before",
    "dead_after",
)
"""The numbers of a row. What is not finite is None: a loss that overflowed, a deviation of values that did."""

_EXAMPLES = 256
_LONGEST_ERROR = 500


def trial(configuration: Configuration) -> Row:
    """Trains one network and says how it went; an error becomes part of the row.

    The accuracy is that of inference on the test images. Moving statistics of a BatchNormalization need some hundred
    steps to get to the batches' own; before, a network may have learned and not yet show it.

    Args:
        configuration: one of `configurations`.
    """
    start = time.perf_counter()
    try:
        found = _measured(configuration)
    except Exception as error:  # the other runs of the sweep want to go on, whatever it is
        return failed(configuration, error, time.perf_counter() - start)
    return _row(configuration, found, time.perf_counter() - start, None)


def failed(configuration: Configuration, error: BaseException, seconds: float | None = None) -> Row:
    """The row of a run that ended with an error."""
    text = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
    return _row(configuration, dict.fromkeys((*MEASURED, "diverged")), seconds, text)


def _row(configuration: Configuration, found: dict[str, Any], seconds: float | None, error: str | None) -> Row:
    seconds = None if seconds is None else round(seconds, 3)
    key = key_of(configuration)
    return {"key": key, **configuration, **found, "seconds": seconds, "error": error, "versions": versions()}


def _measured(configuration: Configuration) -> dict[str, Any]:
    seed, steps, batch = configuration["seed"], configuration["steps"], configuration["batch"]
    batchnorm = configuration["batchnorm"]
    data = images(configuration["dataset"], seed)
    model = dense_network(
        data.x.shape[1],
        [configuration["width"]] * configuration["depth"],
        InitializerName().law(configuration["initializer"]),
        configuration["activation"],
        seed=seed,
        classes=10,
        batchnorm=batchnorm,
    )
    compiled(model, OptimizerName().optimizer(configuration["optimizer"], configuration["learning_rate"]))
    x, y = data.x[:_EXAMPLES], data.y[:_EXAMPLES]
    before = observe(model, x, y)
    losses = fit(model, data.x, data.y, steps=steps, batch=batch, seed=seed)
    after = observe(model, x)
    hidden = "activation_" if batchnorm else "layer_"
    stds, gradients = _finite(before, "std", "activation", hidden), _finite(before, "rms", "gradient", "layer_")
    numbers = {
        "accuracy": _accuracy(model, data.test_x, data.test_y),
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "activation_std_first": stds[0],
        "activation_std_last": stds[-1],
        "gradient_rms_first": gradients[0],
        "gradient_rms_last": gradients[-1],
        "dead_before": layer_values(before, "dead", part=hidden).mean(),
        "dead_after": layer_values(after, "dead", part=hidden).mean(),
    }
    found = {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}
    return {**found, "diverged": not np.isfinite(losses).all()}


def _finite(profile: Profile, statistic: str, quantity: str, part: str) -> Any:
    """A statistic of the hidden layers, not a number where some of what it is of is not finite."""
    variable = "kernel" if quantity == "gradient" else None
    names, values = profile.column(statistic, quantity, variable)
    _, nonfinite = profile.column("nonfinite", quantity, variable)
    return np.where(nonfinite > 0, np.nan, values)[[part in name for name in names]]


def _accuracy(model: Any, x: Any, y: Any) -> float:
    said = np.concatenate([np.asarray(model(x[i : i + 1024], training=False)) for i in range(0, len(x), 1024)])
    # What is not a number is no answer.
    return float(np.mean((said.argmax(-1) == y) & np.isfinite(said).all(-1)))
