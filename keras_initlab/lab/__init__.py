"""The classical experiments on initialization, by one command each; sweeps over grids of networks; a report."""

from keras_initlab.lab import experiments as _experiments  # noqa: F401
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import EXPERIMENTS, Experiment
from keras_initlab.lab.report import report
from keras_initlab.lab.result import Result
from keras_initlab.lab.running import run
from keras_initlab.lab.sweeps import Sweep, sweep

__all__ = ["EXPERIMENTS", "Check", "Experiment", "Result", "Sweep", "report", "run", "sweep"]
