"""How a network's weights begin, and what that does to it: initializers, whole models, statistics for Keras 3."""

import importlib
from typing import TYPE_CHECKING, Any

from keras_initlab import initializers, theory
from keras_initlab.initializers import (
    ChronoBias,
    DeltaOrthogonal,
    Dirac,
    FromFile,
    GateBias,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    LecunNormal,
    LecunUniform,
    LSTMForgetBias,
    Orthogonal,
    PerGate,
    PortableSeed,
    RandomNormal,
    RandomUniform,
    Sparse,
    TruncatedNormal,
    UniformGateBias,
    VarianceScaling,
)

if TYPE_CHECKING:
    from keras_initlab import callbacks, lab, model_init
    from keras_initlab.model_init import (
        compare,
        load_matching,
        lsuv,
        placed_weights,
        portable,
        pretrain,
        propagate,
        register_roles,
        reinitialize,
    )
    from keras_initlab.statistics import Profile, observe

__all__ = [
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
    "LSTMForgetBias",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "PerGate",
    "PortableSeed",
    "Profile",
    "RandomNormal",
    "RandomUniform",
    "Sparse",
    "TruncatedNormal",
    "UniformGateBias",
    "VarianceScaling",
    "callbacks",
    "compare",
    "initializers",
    "lab",
    "load_matching",
    "lsuv",
    "model_init",
    "observe",
    "placed_weights",
    "portable",
    "pretrain",
    "propagate",
    "register_roles",
    "reinitialize",
    "theory",
]
__version__ = "0.1.0"

# Statistics load TensorFlow, which whoever initializes a model on JAX or torch can do without.
_ON_FIRST_USE = {
    "callbacks": "callbacks",
    "lab": "lab",
    "model_init": "model_init",
    "Profile": "statistics.profile",
    "observe": "statistics.observe",
    **dict.fromkeys(("compare", "load_matching", "lsuv", "placed_weights", "portable", "pretrain"), "model_init"),
    **dict.fromkeys(("propagate", "register_roles", "reinitialize"), "model_init"),
}


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'keras_initlab' has no attribute {name!r}")
    module = importlib.import_module(f"keras_initlab.{_ON_FIRST_USE[name]}")
    value = module if name == _ON_FIRST_USE[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
