"""A model as a flat list of calls, whatever way it is built."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_initlab.model_init.places import layer_places, snake_case

__all__ = ["Call", "Graph", "Value", "trace"]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that passes through the model.

    Attributes:
        shape: Its shape, the batch axis first; unknown sizes are None.
        dtype: Its dtype's name.
    """

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer, or of one of Keras's operations between layers.

    Attributes:
        place: The layer's place in the model, with ``#2`` behind it at the second call; an operation is named by its
            class and number.
        operation: The layer or operation.
        args, kwargs: What it is called with; a ``Value`` stands for each tensor.
        inputs: The values among them.
        outputs: The values it makes.
        opaque: Why what it contains could not be traced; "" where there was nothing to trace.
    """

    place: str
    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    opaque: str = ""


@dataclass(frozen=True, eq=False)
class Block:
    """One call of a model or layer whose inside is in the graph.

    Attributes:
        operation: The model or layer.
        end: Number of calls up to its end.
        outputs: What it returns.
    """

    operation: Any
    end: int
    outputs: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """A model as calls in the order of execution.

    Attributes:
        inputs: What the model is called with.
        outputs: What it returns.
        calls: All calls, nested models and blocks of your own replaced by the calls inside them.
        blocks: What was replaced, in the order of ends.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    calls: tuple[Call, ...]
    blocks: tuple[Block, ...] = ()

    def consumers(self) -> dict[Value, list[Call]]:
        """The calls that take each value."""
        found: dict[Value, list[Call]] = collections.defaultdict(list)
        for call in self.calls:
            for value in dict.fromkeys(call.inputs):
                found[value].append(call)
        return found


def trace(model: Any) -> Graph:
    """The graph of a model: functional, Sequential, subclassed or any mixture of them.

    Functional graphs are read; the ``call`` of subclassed models and of layers that contain layers is run once with
    symbolic tensors. Keras's own composite layers (attention, recurrent ones, wrappers) stay whole. Nothing is computed
    and the model is left as it was.

    Args:
        model: A built Keras model.

    Returns:
        The graph. A layer whose ``call`` takes no symbolic tensors is in it as one opaque call.

    Raises:
        ValueError: The model is not built, or it is subclassed and does not know the shape of its inputs.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), keras.layers.ReLU()])
        >>> [(call.place, call.outputs[0].shape) for call in trace(model).calls]
        [('dense', (None, 3)), ('re_lu', (None, 3))]
    """
    check_built(model)
    function = _functional(model)
    given = _input_structure(model) if function is None else ((function._inputs_struct,), {})
    args, kwargs = keras.tree.map_structure(lambda tensor: Value(tuple(tensor.shape), str(tensor.dtype)), given)
    tracer = _Tracer(model)
    # The scope keeps what a layer's code assigns, such as the state of a seed, from the variables.
    with _nodes_put_back(model), keras.StatelessScope():
        outputs = tracer.whole(model, args, kwargs)
    return Graph(_values((args, kwargs)), _values(outputs), tuple(tracer.calls), tuple(tracer.blocks))


def check_built(model: Any) -> None:
    """Refuses what is no model, or has no weights yet.

    Raises:
        TypeError: It is no model.
        ValueError: It is not built.
    """
    if not isinstance(model, keras.Layer):
        raise TypeError(f"Argument `model` must be a Keras model. Received: {model!r} of type {type(model).__name__}.")
    if not model.built:
        raise ValueError(
            f"Argument `model` must be built, so that it has weights. Received: {model.name!r}, which is not. "
            "Call model.build(input_shape), or call the model on a batch."
        )


def _functional(layer: Any) -> Any:
    """The functional graph behind a model, or None where there is none to be read."""
    if isinstance(layer, keras.Sequential):
        return layer._functional
    return layer if hasattr(layer, "_nodes_by_depth") else None


def _input_structure(model: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Symbolic arguments of a subclassed model, by the shapes it was built with."""
    shapes = getattr(model, "_build_shapes_dict", None)
    if not shapes:
        raise ValueError(
            f"The graph of {model.name!r} can't be traced, since it does not know the shape of its inputs. "
            "Call model.build(input_shape)."
        )
    dtype = model.input_dtype if hasattr(model, "input_dtype") else keras.config.floatx()
    found = {name.removesuffix("_shape"): _symbolic(shape, dtype) for name, shape in shapes.items()}
    return (tuple(found.values()), {}) if len(found) == 1 else ((), found)


def _symbolic(shape: Any, dtype: str) -> Any:
    if isinstance(shape, dict):
        return {name: _symbolic(inner, dtype) for name, inner in shape.items()}
    if shape and isinstance(shape[0], (list, tuple, dict)):
        return [_symbolic(inner, dtype) for inner in shape]
    return keras.KerasTensor((None, *shape[1:]), dtype=dtype)


class _Tracer:
    """Runs through the graphs of a model and those inside it."""

    def __init__(self, model: Any) -> None:
        self.places = {id(layer): place for place, layer in layer_places(model)}
        self.calls: list[Call] = []
        self.blocks: list[Block] = []
        self._counts: collections.Counter[str] = collections.Counter()

    def whole(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the model returns, as values."""
        try:
            return self._enter(model, args, kwargs, "")
        except Exception as error:  # whatever the code of a model raises when it is given symbolic tensors
            return self._note(model, args, kwargs, _outputs_of(model, args, kwargs), "", _reason(error))

    def _enter(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], place: str) -> Any:
        """What the layer returns, as values; the calls inside it are noted, all or none."""
        function = _functional(layer)
        if function is not None:
            values = _in_order(function, args[0] if args else next(iter(kwargs.values())))
            structure = function._outputs_struct
        else:
            function, values, structure = _symbolic_function(layer, args, kwargs)
        known = dict(zip(map(id, function.inputs), values, strict=True))
        before, counts = len(self.calls), self._counts.copy()
        try:
            for depth in sorted(function._nodes_by_depth, reverse=True):
                for node in function._nodes_by_depth[depth]:
                    if node.operation and not node.is_input and all(id(x) in known for x in node.input_tensors):
                        self._step(node, known, place)
        except Exception:
            del self.calls[before:]
            self._counts = counts
            raise
        return keras.tree.map_structure(lambda x: known.get(id(x), x), structure)

    def _step(self, node: Any, known: dict[int, Any], parent: str) -> None:
        args, kwargs = node.arguments.fill_in(known)
        operation, why = node.operation, ""
        if _is_composite(operation):
            try:
                outputs = _values(self._enter(operation, args, kwargs, self._place(operation, parent)))
                known.update(zip(map(id, node.outputs), outputs, strict=True))
                self.blocks.append(Block(operation, len(self.calls), tuple(outputs)))
                return
            except Exception as error:  # whatever the code of a layer raises when it is given symbolic tensors
                why = _reason(error)
        outputs = self._note(operation, args, kwargs, node.outputs, parent, why)
        known.update(zip(map(id, node.outputs), outputs, strict=True))

    def _note(
        self, operation: Any, args: Any, kwargs: dict[str, Any], tensors: Sequence[Any], parent: str, why: str
    ) -> tuple[Value, ...]:
        outputs = tuple(Value(tuple(x.shape), str(x.dtype)) for x in tensors)
        place = self._place(operation, parent)
        self._counts[place] += 1
        if self._counts[place] > 1:
            place += f"#{self._counts[place]}"
        self.calls.append(Call(place, operation, tuple(args), kwargs, _values((args, kwargs)), outputs, why))
        return outputs

    def _place(self, operation: Any, parent: str) -> str:
        if self.places.get(id(operation)):
            return self.places[id(operation)]
        name = snake_case(type(operation).__name__)
        return f"{parent}/{name}" if parent else name


def _is_composite(operation: Any) -> bool:
    """Whether there are calls to be seen inside: a model, or a layer of the user's own that contains layers."""
    if _functional(operation) is not None:
        return True
    if not isinstance(operation, keras.Layer) or type(operation).__module__.startswith("keras."):
        return False
    return bool(operation._flatten_layers(include_self=False))


def _values(structure: Any) -> tuple[Value, ...]:
    return tuple(leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, Value))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _in_order(function: Any, given: Any) -> list[Value]:
    """The values in the order of the inputs; Keras takes a dictionary by the inputs' names too."""
    if isinstance(given, dict) and not isinstance(function._inputs_struct, dict):
        return [given[tensor.name] for tensor in function.inputs]
    return list(keras.tree.flatten(given))


def _symbolic_function(layer: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, list[Value], Any]:
    """The graph that a layer's ``call`` makes of symbolic tensors, the values that go in, and what comes out."""
    pairs: list[tuple[Any, Value]] = []

    def symbolic(leaf: Any) -> Any:
        if not isinstance(leaf, Value):
            return leaf
        casts = layer.autocast and keras.backend.is_float_dtype(leaf.dtype)
        pairs.append((keras.KerasTensor(leaf.shape, dtype=layer.compute_dtype if casts else leaf.dtype), leaf))
        return pairs[-1][0]

    inner_args, inner_kwargs = keras.tree.map_structure(symbolic, (tuple(args), dict(kwargs)))
    outputs = layer.call(*inner_args, **inner_kwargs)
    leaves = [leaf for leaf in keras.tree.flatten(outputs) if isinstance(leaf, keras.KerasTensor)]
    return keras.Function([tensor for tensor, _ in pairs], leaves), [value for _, value in pairs], outputs


def _outputs_of(model: Any, args: Any, kwargs: Any) -> list[Any]:
    """Shapes and dtypes of what a model returns, as far as Keras can tell."""
    try:
        args, kwargs = keras.tree.map_structure(lambda v: keras.KerasTensor(v.shape, dtype=v.dtype), (args, kwargs))
        return list(keras.tree.flatten(model.compute_output_spec(*args, **kwargs)))
    except Exception:  # as above
        return []


@contextlib.contextmanager
def _nodes_put_back(model: Any) -> Iterator[None]:
    """Symbolic calls leave a node with every layer; `layer.output` would then speak of several calls."""
    layers = model._flatten_layers()
    saved = [(layer, list(layer._inbound_nodes), list(layer._outbound_nodes)) for layer in layers]
    try:
        yield
    finally:
        for layer, inbound, outbound in saved:
            layer._inbound_nodes[:], layer._outbound_nodes[:] = inbound, outbound
