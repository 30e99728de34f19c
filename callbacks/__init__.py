"""When to measure during training, and where to write what was measured."""

from .layer_statistics import LayerStatistics

__all__ = ["LayerStatistics"]
