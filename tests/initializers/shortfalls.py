"""Assertions of what Keras does, beside what is right."""

import contextlib

import keras
import pytest

MEASURED = "3.15.1"
"""The release of Keras that they were seen on."""


@contextlib.contextmanager
def shortfall(what):
    """An assertion of what Keras does; its failure is news of a mended Keras."""
    try:
        yield
    except (AssertionError, pytest.fail.Exception) as error:
        raise AssertionError(
            f"Keras {keras.__version__} does not do what Keras {MEASURED} did: {what}. "
            "If it has mended this, delete this test and the claim in the docs."
        ) from error
