"""The layout of TensorBoard's Custom Scalars page: which of the charts a reader wants first."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from ..tensorboard_events import BAND

# Title, tags. A line for each layer: of its weights the one that multiplies, not those that shift and scale.
_WEIGHTS = r"/.*(kernel|embeddings)"
MULTILINE = (
    ("gradient of the loss by output, rms", "activation_gradient_rms/"),
    ("gradient of the loss by weight, rms", f"gradient_rms{_WEIGHTS}"),
    ("log10 of update / weight", f"update_ratio_log10{_WEIGHTS}"),
    ("angle to the start, degrees", f"displacement_angle{_WEIGHTS}"),
    ("share of dead units", "activation_dead/"),
    ("share of saturated values", "(pre)?activation_saturated/"),
    ("batch mean less moving mean, in deviations", "batchnorm_mean_drift/"),
)


def layout_event(tags: Sequence[str], step: int) -> bytes:
    """The event that lays out the page for these tags."""
    layout = layout_pb2.Layout(category=[_by_layer(tags), _bands(tags)])
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[layout.SerializeToString()])
    value = summary_pb2.Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=metadata.create_summary_metadata()
    )
    event = event_pb2.Event(wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=[value]))
    return bytes(event.SerializeToString())


def _by_layer(tags: Sequence[str]) -> layout_pb2.Category:
    category = layout_pb2.Category(title="Layer by layer: gradients, updates, dead and saturated units")
    for title, pattern in MULTILINE:
        if any(re.match(pattern, tag) for tag in tags):
            category.chart.add(title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"^{pattern}"]))
    return category


def _bands(tags: Sequence[str]) -> layout_pb2.Category:
    category = layout_pb2.Category(title="Activations: mean ± standard deviation")
    # TensorBoard shows charts of this kind from the last to the first.
    for tag in reversed(tags):
        group, _, layer = tag.partition("/")
        if group == "activation_mean":
            lower, upper = (f"{band}/{layer}" for band, *_ in BAND)
            series = layout_pb2.MarginChartContent.Series(value=tag, lower=lower, upper=upper)
            category.chart.add(title=layer, margin=layout_pb2.MarginChartContent(series=[series]))
    return category
