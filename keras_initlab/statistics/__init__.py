"""What is measured: statistics of layer outputs, gradients and weights, as a Profile."""

from keras_initlab.statistics.observe import observe
from keras_initlab.statistics.profile import Profile

__all__ = ["Profile", "observe"]
