"""Laws of weights: initializers for Keras, thin over ``keras_initlab.theory``."""

from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.delta import DeltaOrthogonal, Dirac
from keras_initlab.initializers.from_file import FromFile
from keras_initlab.initializers.gate_bias import GateBias, LSTMForgetBias
from keras_initlab.initializers.identity import Identity
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
from keras_initlab.initializers.per_gate import PerGate
from keras_initlab.initializers.registry import REGISTRY
from keras_initlab.initializers.seeds import PortableSeed
from keras_initlab.initializers.sparse import Sparse
from keras_initlab.initializers.timescale_bias import ChronoBias, UniformGateBias
from keras_initlab.initializers.uniform import RandomUniform
from keras_initlab.initializers.variance_scaling import VarianceScaling

__all__ = [
    "REGISTRY",
    "ChronoBias",
    "DeltaOrthogonal",
    "Dirac",
    "FromFile",
    "GateBias",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LSTMForgetBias",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "PerGate",
    "PortableSeed",
    "RandomNormal",
    "RandomUniform",
    "Sparse",
    "TruncatedNormal",
    "UniformGateBias",
    "VarianceScaling",
]
