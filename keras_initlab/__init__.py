"""How a network's weights begin, and what that does to it: initializers and layer statistics for Keras 3."""

from keras_initlab import callbacks
from keras_initlab.initializers import *  # noqa: F403  the registry of initializers is one list
from keras_initlab.statistics import Profile, observe

__all__ = ["Profile", "callbacks", "observe"]
__version__ = "0.1.0"
