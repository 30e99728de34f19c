"""Reading a tensor of a training step without changing what the graph optimizer makes of the step.

Measured on TensorFlow 2.21: the final weights of networks with BatchNormalization under gradient descent, of a bare
Dense followed by tanh, sigmoid or elu, and of sums of sums differ in the last bit if these tensors are read directly;
none does when they are read through `unshared`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

# TensorFlow's arithmetic pass regroups chains of these while each link has one reader only (MinimizeBroadcasts,
# AddOpsRewrite); a second reader changes the rounding of what the chain computes.
_CHAINED = {"Mul", "AddV2", "Add", "AddN", "Sub"}
# ... and the remapper fuses a product, its bias and one of these, again only without a second reader; the fused kernel
# rounds differently.
_FUSED = {"Tanh", "Sigmoid", "Elu", "LeakyRelu", "Relu6", "Selu", "Softplus", "Erf"}
_PRODUCTS = {"MatMul", "Conv2D", "Conv3D", "DepthwiseConv2dNative"}


def unshared(tensor: Any) -> Any:
    """The same values, computed once more where a second reader of the tensor could change the model's own arithmetic.

    Measured on TensorFlow 2.21: the final weights of networks with BatchNormalization under gradient descent, of a bare
    Dense followed by tanh, sigmoid or elu, and of sums of sums differ in the last bit if these tensors are read
    directly; none does this way.

    Args:
        tensor: one of a step that has been traced to its end: what reads it decides.
    """
    if tf.executing_eagerly() or not isinstance(tensor, tf.Tensor):
        return tensor
    operation, readers = tensor.op, set(_readers(tensor))
    fused = operation.type == "BiasAdd" and operation.inputs[0].op.type in _PRODUCTS
    # The last link of a chain may have any number of readers.
    shared = readers & _CHAINED if operation.type in _CHAINED else fused and readers & _FUSED
    return _recomputed(tensor) if shared else tensor


def _readers(tensor: Any) -> Iterator[str]:
    """Types of the operations that read a tensor, also behind what hands it on unchanged."""
    for reader in tensor.consumers():
        if reader.type in ("Identity", "IdentityN"):
            for given, passed in zip(reader.inputs, reader.outputs, strict=True):
                if given is tensor:
                    yield from _readers(passed)
        else:
            yield reader.type


def _recomputed(tensor: Any) -> Any:
    operation = tensor.op
    inputs = [
        _recomputed(x) if x.op.type in _CHAINED or (operation.type == "BiasAdd" and x.op.type in _PRODUCTS) else x
        for x in operation.inputs
    ]
    # The snapshot keeps common subgraph elimination from merging the copy with the original again.
    first = next((i for i, x in enumerate(inputs) if x is operation.inputs[i] and x.dtype.is_floating), None)
    if first is not None:
        inputs[first] = tf.raw_ops.Snapshot(input=inputs[first])
    attributes = {k: v for k, v in operation.node_def.attr.items() if not k.startswith("_")}
    return tensor.graph.create_op(operation.type, inputs, [tensor.dtype], attrs=attributes).outputs[0]
