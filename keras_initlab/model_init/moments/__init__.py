"""Means and variances carried through a model: rules for layers and operations, and what carries them."""
