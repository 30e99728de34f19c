"""One call for a whole model: its weights drawn again, scaled by data, predicted, pre-trained, carried over."""

from keras_initlab.model_init.analytic import propagate
from keras_initlab.model_init.comparing import compare
from keras_initlab.model_init.lsuv import lsuv
from keras_initlab.model_init.moments.rules import Moments, rule
from keras_initlab.model_init.places import PlacedWeight, placed_weights
from keras_initlab.model_init.pretraining import pretrain
from keras_initlab.model_init.reinitialize import reinitialize
from keras_initlab.model_init.report import Report
from keras_initlab.model_init.roles import Role, register_roles
from keras_initlab.model_init.transfer.matching import load_matching
from keras_initlab.model_init.transfer.portable_model import portable

__all__ = [
    "Moments",
    "PlacedWeight",
    "Report",
    "Role",
    "compare",
    "load_matching",
    "lsuv",
    "placed_weights",
    "portable",
    "pretrain",
    "propagate",
    "register_roles",
    "reinitialize",
    "rule",
]
