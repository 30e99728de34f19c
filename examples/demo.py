"""How a deep network starts decides whether it learns, and BatchNormalization repairs a bad start.

Twelve ReLU layers learn scikit-learn's handwritten digits four times: from weights N(0, 0.01²) and from He's law, each
with and without BatchNormalization. Run by `make demo`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits

import keras_initlab as kil

DEPTH, WIDTH, BATCH, TRAINING_IMAGES = 12, 128, 64, 1536
PLACES = {"first": 0, "middle": DEPTH // 2 - 1, "last": DEPTH - 1}
LAWS: dict[str, Callable[[int], Any]] = {
    "N(0, 0.01²)": lambda seed: kil.RandomNormal(stddev=0.01, seed=seed),
    "He": lambda seed: kil.HeNormal(seed=seed),
}


# Three of the four curves nearly meet, so they differ in line, in marker and in what shows through.
STYLES: list[dict[str, Any]] = [
    {"color": "tab:red", "marker": "o"},
    {"color": "tab:orange", "marker": "s", "markersize": 9, "markerfacecolor": "none"},
    {"color": "tab:blue", "marker": "o"},
    {"color": "tab:cyan", "marker": "s", "linestyle": "--", "markersize": 4},
]


@dataclass(frozen=True)
class Setting:
    """One of the four ways to start and to build the network."""

    law: str
    batchnorm: bool

    @property
    def name(self) -> str:
        """As the table and the picture show it."""
        return f"{self.law}{' + BatchNorm' if self.batchnorm else ''}"

    @property
    def folder(self) -> str:
        """Where its event files go, below logs/."""
        return ("he" if self.law == "He" else "small") + ("_batchnorm" if self.batchnorm else "")


@dataclass(frozen=True)
class Outcome:
    """What came of one setting; accuracy and loss are those of the test images."""

    setting: Setting
    accuracy: float
    loss: float
    before: kil.Profile
    after: kil.Profile


SETTINGS = [Setting(law, batchnorm) for law, batchnorm in itertools.product(LAWS, (False, True))]


def digits() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Training and test images of 8x8 pixels in 0 ... 1, with their labels."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x / 16).astype("float32")[order], y[order]
    return (x[:TRAINING_IMAGES], y[:TRAINING_IMAGES]), (x[TRAINING_IMAGES:], y[TRAINING_IMAGES:])


def network(setting: Setting) -> keras.Model:
    """The network, compiled. Each layer has a seed of its own, so that no two start with the same weights."""
    draw = LAWS[setting.law]
    layers: list[Any] = [keras.Input((64,))]
    for i in range(1, DEPTH + 1):
        layers.append(keras.layers.Dense(WIDTH, kernel_initializer=draw(i), name=f"hidden_{i:02d}"))
        if setting.batchnorm:
            layers.append(keras.layers.BatchNormalization(name=f"batchnorm_{i:02d}"))
        layers.append(keras.layers.ReLU(name=f"relu_{i:02d}"))
    layers.append(keras.layers.Dense(10, kernel_initializer=draw(0), name="logits"))
    # One name for all four: it begins the tags, and TensorBoard lays runs over each other by tag.
    model = keras.Sequential(layers, name="digits")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), loss, metrics=["accuracy"])
    return model


def run(setting: Setting, logs: Path, epochs: int, advance: Callable[[], None]) -> Outcome:
    """Trains one network; `advance` is called after each step."""
    for old in (*(logs / setting.folder).glob("events.out.tfevents.*"), logs / setting.folder / "profiles.jsonl"):
        old.unlink(missing_ok=True)
    keras.utils.set_random_seed(0)
    (x, y), test = digits()
    model = network(setting)
    before = kil.observe(model, x[:BATCH], y[:BATCH])
    statistics = kil.callbacks.LayerStatistics(logs / setting.folder, update_freq=12)
    progress = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: advance())
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[statistics, progress])
    loss, accuracy = model.evaluate(*test, verbose=0)
    return Outcome(setting, accuracy, loss, before, statistics.history[-1])


def activation_std(profile: kil.Profile) -> Any:
    """Standard deviation after the ReLU of each hidden layer."""
    return _of_hidden(profile.column("std"), "relu_")


def gradient_norm(profile: kil.Profile) -> Any:
    """L2 norm of the gradient of each hidden kernel."""
    return _of_hidden(profile.column("l2", "gradient", "kernel"), "hidden_")


def dead_units(profile: kil.Profile) -> float:
    """Share of the hidden units that are zero for the whole batch."""
    return float(_of_hidden(profile.column("dead"), "relu_").mean())


def _of_hidden(column: tuple[list[str], Any], part: str) -> Any:
    return column[1][[part in name for name in column[0]]]


def summary(outcomes: Sequence[Outcome]) -> Table:
    """The four settings side by side."""
    table = Table(title=f"{DEPTH} ReLU layers of {WIDTH} units on handwritten digits")
    table.add_column("")
    for outcome in outcomes:
        table.add_column(outcome.setting.name.replace(" + ", "\n+ "), justify="right")
    table.add_row("test accuracy", *(f"{100 * o.accuracy:.1f} %" for o in outcomes), style="bold")
    table.add_row("test loss", *(f"{o.loss:.2f}" for o in outcomes), end_section=True)
    for title, values in (("activation std", activation_std), ("gradient norm", gradient_norm)):
        for place, i in PLACES.items():
            cells = (f"{values(o.before)[i]:.2g}" for o in outcomes)
            table.add_row(f"{title}, {place}", *cells, end_section=place == "last")
    for when in ("before", "after"):
        table.add_row(f"dead units, {when}", *(f"{100 * dead_units(getattr(o, when)):.0f} %" for o in outcomes))
    layers = ", ".join(str(i + 1) for i in PLACES.values())
    table.caption = f"Activations and gradients: hidden layers {layers}, before training."
    return table


def picture(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draws activation scale and gradient scale against depth, both before training."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    depth = np.arange(1, DEPTH + 1)
    for ax, values, title in (
        (axes[0], activation_std, "Activations: standard deviation after ReLU"),
        (axes[1], gradient_norm, "Gradients: L2 norm of the kernel's gradient"),
    ):
        for outcome, style in zip(outcomes, STYLES, strict=True):
            label = f"{outcome.setting.name}: {100 * outcome.accuracy:.0f} % test accuracy after training"
            ax.plot(depth, values(outcome.before), label=label, **style)
        ax.set(yscale="log", title=title, xlabel="hidden layer", xticks=depth)
        ax.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(f"{DEPTH} ReLU layers before training, on one batch of handwritten digits")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def experiment(logs: Path, epochs: int, console: Console) -> list[Outcome]:
    """Runs the four settings under a progress bar each."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        steps = epochs * TRAINING_IMAGES // BATCH
        tasks = [progress.add_task(setting.name, total=steps, start=False) for setting in SETTINGS]
        outcomes = []
        for task, setting in zip(tasks, SETTINGS, strict=True):
            progress.start_task(task)
            outcomes.append(run(setting, logs, epochs, lambda task=task: progress.advance(task)))  # type: ignore[misc]
    return outcomes


def main(arguments: Sequence[str] | None = None) -> list[Outcome]:
    """Runs the demonstration; returns the outcomes in the order of SETTINGS."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), help="folder for demo.png and logs/ (default: this one)")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training images (default: 12)")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error(f"argument --epochs: must be at least 1. Received: {options.epochs}")
    logs, image = options.out / "logs", options.out / "demo.png"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        image.touch()
    except OSError as error:
        parser.error(f"argument --out: {error}")

    console = Console()
    outcomes = experiment(logs, options.epochs, console)
    console.print(summary(outcomes))
    picture(outcomes, image)
    tensorboard = os.path.relpath(Path(sys.executable).with_name("tensorboard"))
    console.print(f"The picture: {image}. The layers over time:", soft_wrap=True)
    console.print(f"  {shlex.quote(tensorboard)} --logdir {shlex.quote(str(logs))}", soft_wrap=True, markup=False)
    return outcomes


if __name__ == "__main__":
    main()
