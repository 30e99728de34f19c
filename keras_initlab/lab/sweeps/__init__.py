"""Sweeps: many trainings over a grid of initializers, activations, depths and so on, on one machine or many."""

from keras_initlab.lab.sweeps.grid import AXES, configurations
from keras_initlab.lab.sweeps.running import sweep
from keras_initlab.lab.sweeps.table import Sweep

__all__ = ["AXES", "Sweep", "configurations", "sweep"]
