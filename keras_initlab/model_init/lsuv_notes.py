"""What a report of layer-sequential unit variance says beside its numbers."""

from __future__ import annotations

from typing import Any

import keras

from keras_initlab.model_init.graph import Graph
from keras_initlab.model_init.sums import is_sum
from keras_initlab.model_init.unit_variance_pass import UnitVariancePass

__all__ = ["notes_of", "with_notes"]


def with_notes(the_pass: UnitVariancePass, graph: Graph) -> list[dict[str, Any]]:
    """The rows of a pass, with what is special about each layer."""
    normalized = _normalized(graph)
    rows = []
    for row in the_pass.correction.rows:
        notes = [row["note"]] if row["note"] else []
        if row["place"] in normalized:
            notes.append("BatchNormalization follows: it undoes the scale")
        later = the_pass.correction.at_later_calls.get(row["layer"])
        if later:
            notes.append(f"shared: {_range(later)} at {len(later)} later call{'s' if len(later) > 1 else ''}")
        rows.append({**row, "note": "; ".join(notes) or None})
    return rows


def notes_of(the_pass: UnitVariancePass, graph: Graph) -> list[str]:
    """Sentences about the whole model."""
    done = {row["place"] for row in the_pass.correction.rows}
    opaque = [place for place in dict.fromkeys(the_pass.opaque) if place not in done]
    loops = [place for place in the_pass.in_loops if place not in {*done, *opaque}]
    wanted = {weight.layer_place for weights in the_pass.weights.values() for weight in weights}
    unreached = sorted(wanted - done - {*opaque, *loops})
    left_alone = {
        "what comes out is not the product of a kernel with what goes in": opaque,
        "they ran inside a loop or a compiled function, where nothing can be measured": loops,
        "the pass did not come by": unreached,
    }
    notes = [f"Left alone, since {why}: {', '.join(places)}." for why, places in left_alone.items() if places]
    for bias, why in (("none", "there is no bias"), ("kept", "the biases of recurrent cells are kept")):
        places = dict.fromkeys(row["place"] for row in the_pass.correction.rows if row["bias"] == bias)
        if places:
            notes.append(f"Not centred, since {why}: {', '.join(places)}.")
    if the_pass.normalized:
        notes.append("BatchNormalization used the batch's statistics; the moving ones are as they were before.")
    return [*notes, *_of_sums(the_pass, graph)]


def _of_sums(the_pass: UnitVariancePass, graph: Graph) -> list[str]:
    count = sum(is_sum(call) for call in graph.calls)
    if not count and not the_pass.sums:
        return []
    said = f"Sums are not rescaled: each of {count} adds the variances of its branches."
    if the_pass.sums:
        places = list(the_pass.sums)
        shown = places if len(places) < 4 else [places[0], places[-1]]
        said += f" Their std: {', '.join(f'{place} {_range(the_pass.sums[place])}' for place in shown)}."
    return [said]


def _normalized(graph: Graph) -> set[str]:
    """Places of the layers whose output goes into BatchNormalization alone."""
    consumers = graph.consumers()
    found = set()
    for call in graph.calls:
        after = [later for value in call.outputs for later in consumers.get(value, [])]
        linear = getattr(call.operation, "activation", keras.activations.linear) is keras.activations.linear
        if linear and after and all(isinstance(c.operation, keras.layers.BatchNormalization) for c in after):
            found.add(call.place.split("#")[0])
    return found


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
