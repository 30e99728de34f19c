"""The mathematics of initialization, in NumPy and SciPy alone: neither Keras nor TensorFlow is imported here."""

from keras_initlab.theory.fans import fans
from keras_initlab.theory.truncation import log_survival_ratio, mills_ratio, truncated_moments

__all__ = ["fans", "log_survival_ratio", "mills_ratio", "truncated_moments"]
