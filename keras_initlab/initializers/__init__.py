"""Laws of weights: initializers for Keras, thin over ``keras_initlab.theory``."""

from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.lstm import LSTMForgetBias
from keras_initlab.initializers.named import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
)
from keras_initlab.initializers.normal import RandomNormal, TruncatedNormal
from keras_initlab.initializers.orthogonal import Orthogonal
from keras_initlab.initializers.registry import REGISTRY
from keras_initlab.initializers.uniform import RandomUniform
from keras_initlab.initializers.variance_scaling import VarianceScaling

__all__ = [
    "REGISTRY",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LSTMForgetBias",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
]
