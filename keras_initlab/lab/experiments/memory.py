"""Forget gates: how long a recurrent layer remembers before it has learned anything."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
import numpy as np

import keras_initlab as kil
from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines, Table
from keras_initlab.lab.networks import compiled, fit, seeded
from keras_initlab.lab.options import Batch, Steps, Width
from keras_initlab.statistics.profile import Profile

__all__: list[str] = []

SYMBOLS, RECURRENT, RATE = 8, 0.01, 0.01
CONSTANT = {"bias 0": 0.0, "bias 1": 1.0, "bias 2": 2.0}


class _First(kil.callbacks.Schedule):
    """Watches the first step of each training: the gradients that the start gives."""

    def due(self, epoch_start: int, first: int, last: int, steps: int | None) -> bool:
        """Whether it is the first."""
        return first == epoch_start + 1


@experiment(
    "forget-bias",
    "Derived: ∂c_t/∂c_{t−1} = f. Gers, Schmidhuber & Cummins (2000), Learning to forget, section 3; Jozefowicz et al. "
    "(2015), section 2.2; Tallec & Ollivier (2018), Can recurrent neural networks warp time?, section 2.2.",
)
def forget_bias(
    run: Run,
    delay: Annotated[int, Count(2, 62), "steps between the symbol and the question"] = 50,
    units: Width = 32,
    steps: Steps = 100,
    batch: Batch = 32,
) -> None:
    """A forget gate that starts open lets the gradient come back through time.

    An LSTM sees one of eight symbols, then nothing for fifty steps, and has to say which it was. At each step the cell
    state is multiplied by the forget gate f, and so is its gradient on the way back. At the start f is the sigmoid of
    the bias: with 0 it is a half, and after fifty steps 10⁻¹⁵ of the gradient is left; with 1 it is 10⁻⁷, with 2 it is
    a five-hundredth. Chrono initialization draws the biases such that the memories of the units last from 2 steps up to
    as long as the sequence, each unit's another time, so that some of them reach back to the symbol.

    Adam measures a gradient by its own size, but only down to 10⁻⁷: with biases 0 and 1 the symbol might as well not be
    there. With 2 the network begins to learn, and with chrono it does so first. The weights on the state begin small
    here, N(0, 0.01²), so that the gates open as their biases say.
    """
    x, y = _symbols(run.seed, steps * batch, delay)
    biases: dict[str, Any] = {name: kil.LSTMForgetBias(units, value) for name, value in CONSTANT.items()}
    biases["chrono"] = kil.ChronoBias(units, max_timescale=max(delay, 3), seed=seeded(run.seed, 3))
    # One model for all four, since to compile a recurrent one takes as long as to train it.
    model, flows, curves, late = _network(units, delay), [], [], {}
    watch = kil.callbacks.LayerStatistics(update_freq=_First(), histograms=False, extras=["time"])
    for name, bias in run.track(biases.items(), "forget biases"):
        kil.reinitialize(model, seed=run.seed)
        model.get_layer("lstm").cell.bias.assign(bias((4 * units,)))
        open_ = _forget_gates(model, units)
        losses = fit(model, x, y, steps=steps, batch=batch, seed=run.seed, callbacks=[watch])
        late[name] = float(losses[-max(1, steps // 10) :].mean())
        curves.append(Line.of(name, _smooth(losses)))
        profile = run.keep(name, _of_the_start(watch.history[-1]))
        # The last cell state reaches the loss through the output alone; the one before it is the first to have f in it.
        times = range(delay)
        flow = np.array([profile.column("rms", "state_gradient", f"c/t{t:04d}")[1][0] for t in times])
        # Each unit's gradient shrinks by its own gate; of all units together the squares are averaged.
        shares = open_ ** (2.0 * np.arange(delay, 0, -1)[:, None])
        predicted = np.sqrt(shares.mean(1) / shares[-1].mean())
        flows += [Line.of(name, flow, times), Line.of(name, flow[-1] * predicted, times, predicted=True)]
        run.expect(_decay(name, flow, predicted, shares[0], units, delay))
    chance = math.log(SYMBOLS)
    run.expect(
        Check.equal("bias 0: loss", late["bias 0"], chance, 0.05),
        Check.at_most("bias 2: loss over that with bias 0", late["bias 2"] / late["bias 0"], 0.9),
        Check.at_most("chrono: loss over that with bias 0", late["chrono"] / late["bias 0"], 0.5),
        Check.at_most("chrono: loss over that with bias 2", late["chrono"] / late["bias 2"], 0.9),
    )
    run.show(
        Lines("Gradient of the cell state, first step", "time step", "root mean square", tuple(flows), log_y=True),
        Lines("Loss", "training step", "cross-entropy, mean of ten batches", tuple(curves)),
        Table.of("At the end", ("start", "loss"), late.items()),
    )


def _symbols(seed: int, examples: int, delay: int) -> tuple[Any, Any]:
    """Sequences of a symbol and `delay` steps of nothing; and the symbols."""
    y = np.random.default_rng((seed, 9)).integers(0, SYMBOLS, examples)
    x = np.zeros((examples, delay + 1, SYMBOLS), np.float32)
    x[np.arange(examples), 0, y] = 1
    return x, y


def _network(units: int, delay: int) -> Any:
    small = kil.RandomNormal(stddev=RECURRENT)
    lstm = keras.layers.LSTM(units, recurrent_initializer=small, unit_forget_bias=False, name="lstm")
    head = keras.layers.Dense(SYMBOLS, name="logits")
    model = keras.Sequential([keras.Input((delay + 1, SYMBOLS)), lstm, head])
    return compiled(model, keras.optimizers.Adam(RATE, global_clipnorm=1.0))


def _of_the_start(profile: Profile) -> Profile:
    """A Profile as that of step 1, without what compares it with the training before."""
    kept = [i for i, key in enumerate(profile.keys) if key[2] not in ("update", "displacement")]
    statistics = {name: values[kept] for name, values in profile.statistics.items()}
    return Profile(1, [profile.keys[i] for i in kept], statistics)


def _forget_gates(model: Any, units: int) -> Any:
    """How far the forget gates are open before the first step, where nothing comes in."""
    bias = keras.ops.convert_to_numpy(model.get_layer("lstm").cell.bias).astype(np.float64)
    return 1 / (1 + np.exp(-bias[units : 2 * units]))


def _decay(name: str, flow: Any, predicted: Any, shares: Any, units: int, delay: int) -> Check:
    """What a step back multiplies the gradient by; of units with many memories, what is left of it in the end."""
    if name in CONSTANT:
        measured = (flow[0] / flow[-1]) ** (1 / max(delay - 1, 1))
        expected = 1 / (1 + math.exp(-CONSTANT[name]))
        # A gradient comes round by way of h too: through the output gate and the candidate's input gate, half open
        # each, and the recurrent kernel, whose largest singular value is about 2 √units standard deviations.
        return Check.equal(f"{name}: gradient through a step", measured, expected, RECURRENT * math.sqrt(units) / 2)
    # The gradients at the end differ from unit to unit, their squares by less than a half (uniform weights of eight
    # logits); the longest memories count most, and they are few.
    error = math.sqrt(float(np.sum(shares**2))) / float(np.sum(shares)) / 2
    return Check.within_factor(
        f"{name}: gradient left at the symbol", flow[0] / flow[-1], predicted[0], math.exp(5 / 2 * error)
    )


def _smooth(losses: Any) -> Any:
    return np.convolve(losses, np.ones(10) / 10, "valid") if len(losses) >= 10 else losses
