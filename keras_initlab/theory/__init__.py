"""The mathematics of initialization, in NumPy and SciPy alone: neither Keras nor TensorFlow is imported here."""

from keras_initlab.theory.activations import Scalar, scalar
from keras_initlab.theory.edge import edge_of_chaos
from keras_initlab.theory.fans import WeightAxes, fans, weight_axes
from keras_initlab.theory.gain import gain
from keras_initlab.theory.jacobian import JacobianMoments, jacobian_moments
from keras_initlab.theory.meanfield import MeanField
from keras_initlab.theory.quadrature import gaussian_mean
from keras_initlab.theory.truncation import (
    log_survival_ratio,
    mills_ratio,
    normal_quantile,
    stddev_before_cut,
    truncated_moments,
    truncated_quantile,
)

__all__ = [
    "JacobianMoments",
    "MeanField",
    "Scalar",
    "WeightAxes",
    "edge_of_chaos",
    "fans",
    "gain",
    "gaussian_mean",
    "jacobian_moments",
    "log_survival_ratio",
    "mills_ratio",
    "normal_quantile",
    "scalar",
    "stddev_before_cut",
    "truncated_moments",
    "truncated_quantile",
    "weight_axes",
]
