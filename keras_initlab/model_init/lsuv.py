"""Layer-sequential unit variance in one pass: every layer's kernel is scaled by what a batch makes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_initlab.initializers.arguments import Flag, Real
from keras_initlab.initializers.seeds import Seed
from keras_initlab.model_init.correction import Correction, Refused, Settings
from keras_initlab.model_init.graph import Graph, check_built, trace
from keras_initlab.model_init.layer_inputs import to_arrays
from keras_initlab.model_init.lsuv_notes import notes_of, with_notes
from keras_initlab.model_init.places import PlacedWeight, layer_places, placed_weights
from keras_initlab.model_init.progress import progress_bar
from keras_initlab.model_init.report import Report
from keras_initlab.model_init.sums import is_sum
from keras_initlab.model_init.unit_variance_pass import UnitVariancePass

__all__ = ["ARGUMENTS", "lsuv"]

ARGUMENTS = {
    "target_std": Real(low=1e-6, high=1e6, mend="Pass 1.0 for unit variance."),
    "tolerance": Real(low=1e-5, high=0.5, mend="Pass 0.02 for two percent."),
    "orthogonal": Flag(),
    "centre": Flag(),
    "seed": Seed(),
}
"""Which values the arguments take."""

_COLUMNS = ("layer", "weights", "std_before", "std_after", "factor", "bias", "note")
_KERNELS = ("kernel", "recurrent_kernel", "embedding")


def lsuv(
    model: Any,
    x: Any,
    *,
    target_std: float = 1.0,
    tolerance: float = 0.02,
    orthogonal: bool = True,
    centre: bool = False,
    seed: Any = 0,
) -> Report:
    """Layer-sequential unit variance: gives every layer's pre-activation the same scale, as a batch shows it.

    ``W ← s W`` with the s > 0 for which ``std(s·h + b) = target_std``, h being the product of W with what reaches the
    layer, b its bias as it is, and std over all units, examples and positions together

    The model runs once, eagerly, on ``x``. When the pass reaches a layer for the first time, its kernel is drawn anew
    and scaled, and what the layer gives with the new kernel goes on to the next. The paper measures and scales each
    layer again and again, with a pass from the start each time; but s solves
    ``s² var(h) + 2 s cov(h, b) + var(b) = target_std²``: one measurement of a layer is enough, and the cost does not
    grow faster than that of a pass. All layers with kernels are corrected: dense, convolutions of every sort (both
    parts of separable ones), the projections of attention, and whatever is inside nested and subclassed models and
    wrappers.

    - Recurrent layers: s is found for each gate, for the part of the pre-activation that comes from the layer's
      inputs; recurrent kernels are drawn orthogonal. Stacked cells are corrected one by one.
    - Embeddings: the vectors that the batch looks up get the standard deviation; they are not drawn anew.
    - A layer with kernels whose class is none of Keras's: what its ``activation`` gets, or its output if it has none,
      if that is a product with its kernels and a bias; it is left alone otherwise.
    - Shared layers are corrected at their first call. Sums of branches are not rescaled.
    - Dropout is off. BatchNormalization normalizes by the batch, as in training, and its moving statistics are put back
      afterwards, since they belong to training. Seeds and the states of recurrent layers are put back too.
    - Layers that are frozen (``trainable=False``), quantized or under low-rank adaptation keep their weights.

    Args:
        model: A built Keras model.
        x: One batch as the model takes it, at least two examples: an array, a list or a dictionary of arrays. Some
            hundred examples are enough: the sampling error of a standard deviation is about 1/√(2 · examples · units).
        target_std: Standard deviation to be reached, from 1e-6 to 1e6. Default 1.0, the paper's.
        tolerance: Relative deviation that is no reason to scale, from 1e-5 to 0.5. Default 0.02. The factor is exact
            but for rounding; a kernel that is within the tolerance already is left as it is.
        orthogonal: Whether each kernel is first drawn orthogonal over its role's axes, for each gate and group on its
            own, as in the paper. Default True. False keeps the kernels' directions.
        centre: Whether the bias is set so that the mean of each unit over the batch and all positions is 0; std is then
            that of the centred values. Default False, as in the paper. The biases of recurrent cells are kept.
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, for the orthogonal kernels. Each
            kernel draws with a seed of its own, from this one and the weight's place in the model. Default 0.

    Returns:
        A Report with a row for each kernel (each gate of a recurrent one): ``layer``, ``weights``; ``std_before``, in
        the pass under the kernel before it was scaled (with ``orthogonal``, the new one); ``std_after``, of what the
        pass went on with: s·h + b, taken from the same product where the layer is Keras's own and in float32 or wider,
        and from a second run of the layer elsewhere; ``factor``; ``bias``, with ``centre``: centred, kept or none;
        ``note``. The notes name what was left alone and why, and say how sums grow.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: The model is not built or has no kernels; ``x`` has NaN or infinite values, fewer than two different
            examples or another shape than the model takes; another argument is out of range; the pre-activations of a
            layer have no spread, are not finite, or its biases alone spread more than ``target_std``. All weights are
            then what they were.

    Reference:
        Mishkin & Matas (2016), All you need is a good init.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), *(keras.layers.Dense(16, "tanh") for _ in range(30))])
        >>> x = np.random.default_rng(0).normal(3.0, 5.0, (64, 8)).astype("float32")
        >>> report = lsuv(model, x)
        >>> len(report), round(report["dense_29"]["std_after"], 3)
        (30, 1.0)
    """
    given = {
        "target_std": target_std,
        "tolerance": tolerance,
        "orthogonal": orthogonal,
        "centre": centre,
        "seed": seed,
    }
    settings = Settings(**{name: ARGUMENTS[name].check(name, value) for name, value in given.items()})
    check_built(model)
    weights, notes = _to_be_corrected(model)
    x = to_arrays(x)
    graph = _traced(model)
    _check_batch(x, graph)
    the_pass = UnitVariancePass(Correction(settings), weights)
    layers = [layer for _, layer in layer_places(model)]
    sums = {id(call.operation): (call.place, call.operation) for call in reversed(graph.calls) if is_sum(call)}
    with _state_put_back(model), progress_bar() as progress, the_pass.listening(layers, sums.values()):
        task = progress.add_task("Scaling layers", total=len(weights))
        the_pass.correction.on_layer = lambda: progress.advance(task)
        try:
            model(x, training=False)
        except Refused as refused:
            raise ValueError(str(refused)) from None
    rows = with_notes(the_pass, graph)
    return Report("Layer-sequential unit variance", _COLUMNS, rows, [*notes_of(the_pass, graph), *notes])


def _to_be_corrected(model: Any) -> tuple[dict[int, list[PlacedWeight]], list[str]]:
    """Kernels and embeddings by ``id`` of their layer, and what is said of those that are left alone."""
    found: dict[int, list[PlacedWeight]] = {}
    adapted: dict[str, None] = {}
    frozen: dict[str, None] = {}
    for weight in placed_weights(model):
        if weight.role.kind == "adapted":
            adapted[weight.layer_place] = None
        elif weight.role.kind in _KERNELS and not weight.variable.trainable:
            frozen[weight.layer_place] = None
        elif weight.role.kind in _KERNELS:
            found.setdefault(id(weight.layer), []).append(weight)
    reasons = {"quantized or under low-rank adaptation": adapted, "frozen (trainable=False)": frozen}
    notes = [f"Left alone, since {why}: {', '.join(places)}." for why, places in reasons.items() if places]
    if not found:
        raise ValueError(
            f"Argument `model` must have kernels or embeddings to be scaled. Received: {model.name!r}, which has none. "
            + (" ".join(notes) or "Add a layer such as Dense.")
        )
    return found, notes


def _traced(model: Any) -> Graph:
    try:
        return trace(model)
    except Exception:  # whatever the code of a model raises when it is given symbolic tensors
        return Graph((), (), ())


def _check_batch(x: Any, graph: Graph) -> None:
    leaves = keras.tree.flatten(x)
    received = f"Received: {', '.join(str(leaf.shape) for leaf in leaves)}"
    if graph.inputs and not (
        len(leaves) == len(graph.inputs)
        and all(_fits(leaf.shape, value.shape) for leaf, value in zip(leaves, graph.inputs, strict=True))
    ):
        wanted = ", ".join(str(value.shape) for value in graph.inputs)
        raise ValueError(
            f"Argument `x` must be a batch as the model takes it, of shape {wanted}. {received}. "
            "None stands for any number; the first axis counts the examples."
        )
    if len(leaves[0]) < 2:
        raise ValueError(
            f"Argument `x` must hold two examples at least, since one has no spread. {received}. "
            "Pass some hundred examples."
        )
    if all((leaf == leaf[:1]).all() for leaf in leaves):
        raise ValueError(
            f"Argument `x` must hold examples that differ. {received}, the same example {len(leaves[0])} times. "
            "Pass a batch of the data that the model is to learn."
        )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Keras takes an axis of size 1 too much or too little at the end."""
    if len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    elif len(shape) == len(wanted) - 1 and wanted[-1] in (1, None):
        shape = (*shape, 1)
    return len(shape) == len(wanted) and all(b in (None, a) for a, b in zip(shape[1:], wanted[1:], strict=True))


@contextlib.contextmanager
def _state_put_back(model: Any) -> Iterator[None]:
    """Puts back what is not trained (moving statistics, seeds, states); after an error all variables."""
    rnns = [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    # Keras does not count a recurrent layer's states among its variables.
    variables = [*model.variables, *keras.tree.flatten([getattr(layer, "states", None) or [] for layer in rnns])]
    saved = [(variable, keras.ops.copy(variable)) for variable in variables]
    failed = True
    try:
        yield
        failed = False
    finally:
        for variable, value in saved:
            if failed or not variable.trainable:
                variable.assign(value)
