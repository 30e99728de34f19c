"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import keras_initlab

MODULES = ["keras_initlab", *(m.name for m in pkgutil.walk_packages(keras_initlab.__path__, "keras_initlab."))]


def test_the_callbacks_are_among_the_modules():
    assert "keras_initlab.callbacks.layer_statistics" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    failed, _ = doctest.testmod(importlib.import_module(name), extraglobs={"np": np, "keras": keras})
    assert failed == 0
