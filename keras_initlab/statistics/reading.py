"""Reading a tensor of a training step without changing what the graph optimizer makes of the step.

What TensorFlow computes depends on who reads it: a chain of products or sums is regrouped, and a product is fused with
what comes after it, only while no link has a second reader. Such tensors are computed once more for the reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_SUMS = frozenset({"Add", "AddV2", "AddN"})
_PRODUCTS = frozenset({"MatMul", "Conv2D", "Conv3D", "DepthwiseConv2dNative"})
# TensorFlow regroups chains of these (MinimizeBroadcasts, AddOpsRewrite), takes a factor that summands have in common
# out of a sum, and multiplies constants that follow one another: which readers make an operation a link of a chain.
_CHAINS = {
    "Mul": _SUMS | {"Mul", "RealDiv", "Sub"},
    "RealDiv": {"Mul", "RealDiv"},
    "Sub": _SUMS | {"Sub"},
    "Add": _SUMS | {"Sub"},
    "AddV2": _SUMS | {"Sub"},
    "AddN": _SUMS,
}
_NONE: frozenset[str] = frozenset()
_SAME_BUFFER = {"Identity", "IdentityN", "Reshape", "ExpandDims", "Squeeze", "StopGradient", "PreventGradient"}
# These want the shape alone, which is known without the tensor.
_OF_SHAPE = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
# The remapper fuses a product and its bias with one of these. A sum is fused on processors with oneDNN.
_FUSED = _SUMS | {"Tanh", "Sigmoid", "Elu", "LeakyRelu", "Relu6", "Selu", "Softplus", "Erf"}


class Reading:
    """Gives the tensor to read in place of one of a step that has been traced to its end.

    It has the same values, computed once more where a second reader could change the model's own arithmetic. Measured
    on TensorFlow 2.21: the final weights of networks with BatchNormalization under gradient descent, of a bare Dense
    followed by tanh, sigmoid or elu or added to something, and of sums of sums differ in the last bit if these tensors
    are read directly; none does this way.
    """

    def __init__(self) -> None:
        self._copies: dict[int, Any] = {}
        self._alive: set[str] | None = None

    def __call__(self, tensor: Any) -> Any:
        """The tensor itself or its copy."""
        if tf.executing_eagerly() or not isinstance(tensor, tf.Tensor):
            return tensor
        return self._recomputed(tensor) if self._is_link(tensor) else self._released(tensor)

    def _recomputed(self, tensor: Any) -> Any:
        # Each once: in a deep residual network every sum is a link to the next.
        if id(tensor) not in self._copies:
            operation = tensor.op
            inputs = [
                self._recomputed(x) if self._goes_along(x, operation) else self._released(x) for x in operation.inputs
            ]
            # The snapshot keeps common subgraph elimination from merging the copy with the original again.
            first = next((i for i, x in enumerate(inputs) if x is operation.inputs[i] and x.dtype.is_floating), None)
            if first is not None:
                inputs[first] = tf.raw_ops.Snapshot(input=inputs[first])
            attributes = {k: v for k, v in operation.node_def.attr.items() if not k.startswith("_")}
            copy = tensor.graph.create_op(operation.type, inputs, [tensor.dtype], attrs=attributes).outputs[0]
            self._copies[id(tensor)] = copy
        return self._copies[id(tensor)]

    def _is_link(self, tensor: Any) -> bool:
        """Whether what reads the tensor may be computed together with it: what has several readers never is.

        A sum that only a product reads is not either, and to compute it once more would be worse than to read it: its
        inputs would have more readers.
        """
        operation = tensor.op
        if operation.type == "BiasAdd":
            linked = operation.inputs[0].op.type in _PRODUCTS and not _FUSED.isdisjoint(_readers(tensor))
        else:
            linked = not _CHAINS.get(operation.type, _NONE).isdisjoint(_readers(tensor))
        return linked and self._readers_alive(tensor) < 2

    def _goes_along(self, tensor: Any, reader: Any) -> bool:
        return self._is_link(tensor) or (reader.type == "BiasAdd" and tensor.op.type in _PRODUCTS)

    def _is_chained(self, operation: Any) -> bool:
        return any(x.op.type in _SUMS and self._is_link(x) for x in (*operation.inputs, *operation.outputs))

    def _readers_alive(self, tensor: Any) -> int:
        """How many operations read the tensor that the step needs; TensorFlow leaves the others out."""
        if self._alive is None:
            self._alive = _needed(tensor.graph)
        return len({op.name for op in tensor.consumers() if op.type not in _OF_SHAPE} & self._alive)

    def _released(self, tensor: Any) -> Any:
        """The tensor, or a copy that is made before a sum of three and more takes it.

        AddN adds up in the buffer of its first input that nobody else holds: if we did, it would begin elsewhere.
        """
        source = _source(tensor)
        sums = [operation for operation in _long_sums(source) if not self._is_chained(operation)]
        if not sums or tensor.shape[1:].num_elements() is None:
            return tensor
        if id(source) not in self._copies:
            copy = tf.raw_ops.Snapshot(input=source)
            for operation in sums:
                operation._add_control_input(copy.op)
            self._copies[id(source)] = copy
        copy = self._copies[id(source)]
        return copy if source is tensor else tf.reshape(copy, [-1 if n is None else n for n in tensor.shape])


def _needed(graph: Any) -> set[str]:
    """The operations that what a step assigns depends on."""
    ends = [op for op in graph.get_operations() if not op.outputs and op.type != "NoOp"]
    found = {op.name for op in ends}
    while ends:
        operation = ends.pop()
        for before in (*(x.op for x in operation.inputs), *operation.control_inputs):
            if before.name not in found:
                found.add(before.name)
                ends.append(before)
    return found


def _source(tensor: Any) -> Any:
    """What made the buffer that a tensor is in."""
    while tensor.op.type in _SAME_BUFFER:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tensor


def _long_sums(source: Any) -> list[Any]:
    """The sums of three and more that take the tensor, or what shares its buffer."""
    found, ends = {}, [source]
    while ends:
        tensor = ends.pop()
        for reader in tensor.consumers():
            if reader.type == "AddN" and len(reader.inputs) > 2:
                found[reader.name] = reader
            elif reader.type == "IdentityN":
                ends += [y for x, y in zip(reader.inputs, reader.outputs, strict=True) if x is tensor]
            elif reader.type in _SAME_BUFFER and reader.inputs[0] is tensor:
                ends.append(reader.outputs[0])
    return list(found.values())


def _readers(tensor: Any) -> Iterator[str]:
    """Types of the operations that read a tensor, also behind what hands it on unchanged."""
    for reader in tensor.consumers():
        if reader.type in ("Identity", "IdentityN"):
            for given, passed in zip(reader.inputs, reader.outputs, strict=True):
                if given is tensor:
                    yield from _readers(passed)
        else:
            yield reader.type
