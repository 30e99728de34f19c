"""The experiments, a module for each of their subjects; importing this package registers them in the order told."""

import importlib

__all__: list[str] = []

for _name in (
    "linear_networks",
    "activation_scales",
    "relu_scales",
    "relu_depth",
    "variance_proofs",
    "laws",
    "layer_kinds",
    "isometry",
    "edge",
    "depth_width",
    "displacement",
    "symmetry",
    "convex",
    "normalization",
    "memory",
    "layerwise",
    "descent",
):
    importlib.import_module(f"keras_initlab.lab.experiments.{_name}")
