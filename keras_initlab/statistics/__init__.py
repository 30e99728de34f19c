"""What is measured: statistics of layer outputs, gradients and weights, as a Profile."""

import sys

from keras_initlab.statistics.profile import Profile

__all__ = ["Profile"]

# Without TensorFlow, which whoever trains on another backend has not loaded, a Profile can still be read and written.
if "tensorflow" in sys.modules:
    from keras_initlab.statistics.observe import observe as observe
