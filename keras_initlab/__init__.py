"""How a network's weights begin, and what that does to it: initializers and layer statistics for Keras 3."""

from keras_initlab import callbacks, initializers
from keras_initlab.initializers import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    LSTMForgetBias,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
)
from keras_initlab.statistics import Profile, observe

__all__ = [
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LSTMForgetBias",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "Profile",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "callbacks",
    "initializers",
    "observe",
]
__version__ = "0.1.0"
