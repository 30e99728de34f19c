"""The sums in a graph: which branches go into each, and whether something passes them by."""

from __future__ import annotations

import functools
from typing import NamedTuple

from keras_initlab.model_init.graph import Call, Graph, Value

__all__ = ["SUMS", "Sum", "is_sum", "residual_sums", "sums_of"]

SUMS = ("Add", "Subtract", "Average")


class Sum(NamedTuple):
    """A sum. Sets of calls are the bits of an integer, each at the call's number in the graph.

    Attributes:
        branches: For each term the calls with weights that made it, and not all of the others too.
        residual: Whether some of the terms have such calls and others, which pass by, have none.
    """

    branches: tuple[int, ...]
    residual: bool

    def terms(self) -> int:
        """How many of the branches have weights."""
        return sum(branch > 0 for branch in self.branches)


def is_sum(call: Call) -> bool:
    """Whether a call adds up different values."""
    return type(call.operation).__name__ in SUMS and len(set(call.inputs)) > 1


def sums_of(graph: Graph, weighted: int) -> dict[int, Sum]:
    """The sums of a graph by ``id`` of the call; ``(a + b) + c`` is one of three terms.

    Args:
        graph: The graph.
        weighted: Its calls that have weights, as bits.

    Returns:
        The sums; that of a and b is none of its own.
    """
    behind = _behind(graph)
    consumers, parts, found = graph.consumers(), dict[Value, list[Value]](), dict[int, Sum]()
    for call in graph.calls:
        if not is_sum(call):
            continue
        terms = [term for value in call.inputs for term in parts.get(value, [value])]
        takers = consumers[call.outputs[0]]
        if len(takers) == 1 and is_sum(takers[0]) and call.outputs[0] not in graph.outputs:
            parts[call.outputs[0]] = terms
        else:
            found[id(call)] = _sum([behind[term] for term in terms], weighted)
    return found


def _behind(graph: Graph) -> dict[Value, int]:
    """For each value the calls and, at the bits above them, the inputs of the model that it depends on."""
    behind = {value: 1 << len(graph.calls) + number for number, value in enumerate(graph.inputs)}
    for number, call in enumerate(graph.calls):
        before = functools.reduce(int.__or__, (behind[value] for value in call.inputs), 0)
        behind.update(dict.fromkeys(call.outputs, before | 1 << number))
    return behind


def _sum(behind: list[int], weighted: int) -> Sum:
    shared = functools.reduce(int.__and__, behind)
    branches = tuple(calls & ~shared & weighted for calls in behind)
    # Where the terms have nothing in common, none of them is what the others were made from.
    return Sum(branches, residual=bool(shared) and any(branches) and not all(branches))


def residual_sums(graph: Graph, sums: dict[int, Sum]) -> int:
    """How many residual sums there are on the path that has most of them."""
    most: dict[Value, int] = {}
    for call in graph.calls:
        before = max((most.get(value, 0) for value in call.inputs), default=0)
        residual = id(call) in sums and sums[id(call)].residual
        most.update(dict.fromkeys(call.outputs, before + residual))
    return max(most.values(), default=0)
