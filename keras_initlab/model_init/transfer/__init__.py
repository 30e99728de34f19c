"""Weights from another model, and a model that carries nothing of this package."""
