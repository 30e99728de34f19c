"""Weights of a saved model for a model with another head, and a file that needs keras_initlab no more."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras

import keras_initlab as kil
from keras_initlab.model_init.report import Report


def classifier(classes: int, head: str) -> keras.Model:
    """Return a small convolutional network."""
    he = kil.HeNormal(seed=0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu", kernel_initializer=he),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes, name=head, kernel_initializer=kil.Orthogonal(seed=1)),
        ]
    )


def main() -> tuple[Report, int]:
    """Return what was taken, and how often the portable file names the library."""
    digits = classifier(10, "digits")
    digits.layers[0].kernel.assign(digits.layers[0].kernel * 2)  # as if it had been trained
    with tempfile.TemporaryDirectory() as folder:
        digits.save(f"{folder}/digits.keras")
        letters = classifier(26, "letters")
        report = kil.load_matching(letters, f"{folder}/digits.keras")
        print(report)

        copy = kil.portable(letters)
        copy.save(Path(folder) / "letters.keras")
        loaded = keras.saving.load_model(Path(folder) / "letters.keras")
    before, after = (model.to_json().count("keras_initlab") for model in (letters, loaded))
    print(f"\nThe configuration names keras_initlab {before} times, that of the portable copy {after} times.")
    print(f"The copy draws with {type(loaded.layers[0].kernel_initializer)}.")
    return report, after


if __name__ == "__main__":
    main()
