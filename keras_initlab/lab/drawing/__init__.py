"""Figures as Plotly draws them: the only place of the lab that knows how a picture looks."""

from keras_initlab.lab.drawing.draw import draw

__all__ = ["draw"]
