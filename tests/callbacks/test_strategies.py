"""Under a distribution strategy the statistics are those of the global batch and the reduced gradient."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_initlab as kil
from keras_initlab.callbacks.strategies import check_strategy, writes
from keras_initlab.statistics.schema import HISTOGRAM_SAMPLE, STATISTICS

from ..processes import PACKAGE_PATH, ROOT
from ..statistics.networks import chain, compiled, data
from ..statistics.reference import eager_step, statistics
from .strategy_runs import BATCH, EPOCHS, LAST, STEPS, batches, build, parts

# One process for each xdist worker that runs these tests would be one too many.
pytestmark = pytest.mark.xdist_group("strategies")
TOLERANCE = 1e-5
# What float16 tensors are known to.
HALF = 2.0**-10
# For each training, some times what it takes on two busy cores.
SECONDS = 60


def ran(folders, replicas, cases, cluster=()):
    """What the trainings left behind, for each process; one that hangs is ended, and fails the test."""
    latest = time.monotonic() + SECONDS * (2 + len(cases))
    with contextlib.ExitStack() as stack:
        processes = []
        for i, folder in enumerate(folders):
            environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
            environment |= {"PYTHONPATH": str(PACKAGE_PATH)}
            if cluster:
                task = {"type": "worker", "index": i}
                environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": cluster}, "task": task})
            output = stack.enter_context(open(folder / "output", "w"))
            command = [sys.executable, "-m", "tests.callbacks.strategy_runs", str(folder), str(replicas), *cases]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
            processes.append(stack.enter_context(ended(process)))
        for process, folder in zip(processes, folders, strict=True):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(latest - time.monotonic(), 0))
            assert process.poll() == 0, (folder / "output").read_text()[-5000:]
    return [pickle.loads((folder / "runs.pickle").read_bytes()) for folder in folders]


@contextlib.contextmanager
def ended(process):
    """A process that does not outlive the context."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    cases = ["together single", "together dataset", "together unwatched"]
    cases += ["short mixed single", "short mixed", "short mixed unwatched"]
    cases += ["apart sgd single", "apart sgd one"]
    return ran([tmp_path_factory.mktemp("two")], 2, cases)[0]


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return ran([tmp_path_factory.mktemp("four")], 4, ["apart sgd"])[0]


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two processes that train together; the folder of each, and what it left behind."""
    folders = [tmp_path_factory.mktemp(f"worker{i}") for i in range(2)]
    cluster = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return list(zip(folders, ran(folders, 2, ["together logged", "together unwatched"], cluster), strict=True))


# -- two accounts of one training -------------------------------------------------------------------------------------


def differing(one, other, tolerance=TOLERANCE, exact=True, quantities=None):
    """Step, row and column of all that two lists of Profiles do not agree on."""
    assert [p.step for p in one] == [p.step for p in other]
    found = []
    for p, q in zip(one, other, strict=True):
        assert p.keys == q.keys
        chosen = np.array([quantities is None or bool({key[2], key[2:]} & quantities) for key in p.keys])
        for name in STATISTICS:
            a, b = p.statistics[name], q.statistics[name]
            with np.errstate(invalid="ignore"):
                bad = ~(np.abs(a - b) <= tolerance * _scale(name, p, q)) & ~(np.isnan(a) & np.isnan(b))
            found += [(p.step, p.keys[i], name, a[i], b[i]) for i in np.flatnonzero(bad & chosen)]
        for i in np.flatnonzero(chosen & (p.statistics["count"] < 2 * HISTOGRAM_SAMPLE)) if exact else ():
            if p.histograms.buckets(i) != q.histograms.buckets(i):
                found.append((p.step, p.keys[i], "histogram"))
    return found


def _scale(name, p, q):
    """A mean near zero has no digits of its own; an extreme has those of its size."""
    if name in ("mean", "std", "rms"):
        return p.statistics["rms"]
    if name in ("min", "max"):
        return np.maximum(p.statistics["rms"], np.abs(p.statistics[name]))
    if name in ("l2", "relative", "angle"):
        return np.abs(p.statistics[name])
    return np.ones(len(p)) if name == "cosine" else np.zeros(len(p))


def same_bits(one, other):
    """Whether two trainings left the same behind on each replica; epochs' losses too."""
    a, b = one["state"], other["state"]
    assert a.keys() == b.keys()
    assert len(a) > 5
    return one["losses"] == other["losses"] and all(
        len(a[name]) == len(b[name]) and all(map(np.array_equal, a[name], b[name])) for name in a
    )


def first_epoch(run):
    return run["profiles"][:STEPS]


def test_global_batch_and_reduced_gradient(two):
    """Of an input that the strategy distributed; the last batch of seven among them."""
    run = two["together dataset"]
    assert [p.step for p in run["profiles"]] == list(range(1, EPOCHS * STEPS + 1))
    assert differing(first_epoch(two["together single"]), first_epoch(run)) == []
    rows = {(row["layer"].split("/")[-1], row["quantity"], row["variable"]): row for row in run["profiles"][1].rows}
    assert rows["dense", "activation", None]["count"] == BATCH * 200
    assert rows["dense", "activation", None]["saturated"] > 0.1
    assert all(rows["dense_1", "activation", None][name] >= 3 / 16 for name in ("dead", "dead_window"))
    assert rows["layer_normalization", "normalization", "mean"]["count"] == BATCH
    assert abs(rows["dense", "update", "kernel"]["cosine"]) < 1
    assert rows["dense", "displacement", "kernel"]["angle"] > 0


def test_the_comparison_sees_one_replica():
    """What only one of two replicas has seen is no account of the batch."""
    x, y = data(8)
    model = compiled("plain")
    whole, half = kil.observe(model, x, y), kil.observe(model, x[:4], y[:4])
    assert {"activation", "gradient"} <= {key[2] for _, key, *_ in differing([whole], [half])}
    assert differing([whole], [whole]) == []


def test_scaled_loss(two):
    """Gradients that are multiplied on their way; those of weights are sums in float16, in other parts."""
    single, run = (two[case]["profiles"][:1] for case in ("short mixed single", "short mixed"))
    of_examples = {"preactivation", "activation", "activation_gradient", "batchnorm", "normalization"}
    assert differing(single, run, quantities=of_examples, exact=False) == []
    assert differing(single, run, HALF, exact=False) == []


@pytest.mark.parametrize(
    ("watched", "unwatched"),
    [
        ("together dataset", "together unwatched"),
        ("short mixed", "short mixed unwatched"),
    ],
)
def test_same_bits(two, watched, unwatched):
    assert len(two[watched]["profiles"]) == 20
    assert same_bits(two[watched], two[unwatched])


def test_one_device_and_several_steps_an_execution(two):
    """Not to be told from no strategy, but for the weights of the examples in the last batch."""
    one, single = two["apart sgd one"]["profiles"], two["apart sgd single"]["profiles"]
    assert [p.step for p in one] == [4, 5, 9, 10, 14, 15, 19, 20]
    assert differing(one[:1], [single[3]], quantities={"activation", "gradient"}) == []


# -- a BatchNormalization that normalizes each part by itself ---------------------------------------------------------


def test_moments_of_the_global_batch(two, four):
    """What is behind the layer differs from a single device; the moments before it do not."""
    names = {("batchnorm", name) for name in ("input", "batch_mean", "batch_variance")}
    single, run = two["apart sgd single"]["profiles"][:1], four["apart sgd"]["profiles"][:1]
    assert differing(single, run, quantities=names) == []
    assert differing(single, run, quantities={"activation"}) != []


def assert_by_hand(run, replicas):
    """Seven examples: each replica's part by itself, its loss divided by the number of replicas, gradients added up."""
    profile = run["profiles"][STEPS - 1]
    keras.utils.clear_session()
    model = build("apart", "sgd")
    x, y = (values[-LAST:] for values in batches("apart"))
    assert len(x) == sum(parts(LAST, replicas)) == LAST
    found = []
    for part in np.split(np.arange(LAST), np.cumsum(parts(LAST, replicas))[:-1]):
        for variable, value in zip(model.variables, run["before"], strict=True):
            variable.assign(value)
        found.append(eager_step(chain(model), model, x[part], y[part]))
    expected = {}
    for i, layer in enumerate(chain(model)):
        expected[layer.name, "activation", None] = np.concatenate([step["outputs"][i] for step in found])
        if found[0]["output_gradients"][i] is not None:
            gradients = [step["output_gradients"][i] / replicas for step in found]
            expected[layer.name, "activation_gradient", None] = np.concatenate(gradients)
    for path in found[0]["gradients"]:
        layer, name = path.split("/")[-2:]
        expected[layer, "gradient", name] = sum(step["gradients"][path] / replicas for step in found)
    counted = x.reshape(-1, 3)[np.any(x.reshape(-1, 3) != 0, axis=1)].astype(float)
    norm = chain(model)[2].name
    expected[norm, "batchnorm", "batch_mean"] = counted.mean(axis=0)
    expected[norm, "batchnorm", "batch_variance"] = counted.var(axis=0)
    rows = {(row["layer"].split("/")[-1], row["quantity"], row["variable"]): row for row in profile.rows}
    assert expected.keys() <= rows.keys()
    assert len(expected) == 5 + 3 + 4 + 2
    for key, tensor in expected.items():
        for name, value in statistics(tensor).items():
            scale = abs(value) if name in ("count", "l2", "zeros") else statistics(tensor)["rms"]
            assert abs(rows[key][name] - value) <= TOLERANCE * scale, (key, name)


def test_an_uneven_batch_by_hand(four):
    assert_by_hand(four["apart sgd"], 4)


# -- several workers --------------------------------------------------------------------------------------------------


def test_workers(workers, two):
    for _, runs in workers:
        assert differing(first_epoch(two["together single"]), first_epoch(runs["together logged"])) == []
        assert same_bits(runs["together logged"], runs["together unwatched"])


def test_one_worker_writes(workers):
    (first, runs), (second, _) = workers
    assert [p.step for p in kil.Profile.read(first / "logs")] == [p.step for p in runs["together logged"]["profiles"]]
    assert sorted(path.name for path in second.iterdir()) == ["output", "runs.pickle"]


class Cluster(tf.distribute.MultiWorkerMirroredStrategy):
    """What a process knows of its cluster, without the others."""

    num_replicas_in_sync = 3

    def __init__(self, jobs, job, index):
        spec = tf.train.ClusterSpec({name: [f"127.0.0.1:{port}" for port in ports] for name, ports in jobs.items()})
        self._known = tf.distribute.cluster_resolver.SimpleClusterResolver(spec, task_type=job, task_id=index)

    cluster_resolver = property(lambda self: self._known)


@pytest.mark.parametrize(
    ("jobs", "writer"),
    [
        ({"worker": [1, 2]}, ("worker", 0)),
        ({"chief": [1], "worker": [2, 3]}, ("chief", 0)),
        ({"chief": [1], "worker": [2], "evaluator": [3]}, ("chief", 0)),
    ],
)
def test_exactly_one_process_writes(jobs, writer):
    tasks = [(job, i) for job in jobs for i in range(len(jobs[job]))]
    assert [task for task in tasks if writes(Cluster(jobs, *task))] == [writer]


# -- what is refused --------------------------------------------------------------------------------------------------


def test_central_storage_is_refused_when_training_starts():
    with tf.distribute.experimental.CentralStorageStrategy().scope():
        model = compiled("plain")
    with pytest.raises(ValueError, match=r"under MirroredStrategy, .* Received: .* CentralStorageStrategy"):
        model.fit(*data(8), verbose=0, callbacks=[kil.callbacks.LayerStatistics()])


@pytest.mark.parametrize("kind", [tf.distribute.ParameterServerStrategy, tf.distribute.TPUStrategy])
def test_other_strategies_are_refused(kind):
    """Neither can be made without its machines."""
    model = SimpleNamespace(distribute_strategy=object.__new__(kind), jit_compile=False, run_eagerly=False)
    callback = kil.callbacks.LayerStatistics()
    callback.set_model(model)
    with pytest.raises(ValueError, match=r"Received: a model made under (ParameterServer|TPU)Strategy"):
        callback.on_train_begin()


@pytest.mark.parametrize(
    ("jit_compile", "schedule", "message"),
    [
        (True, 1, "jit_compile must be False .* Received: jit_compile=True and 3 replicas"),
        (False, kil.callbacks.TimeBudget(), "update_freq must choose the same steps .* Received: a TimeBudget"),
    ],
)
def test_what_several_replicas_cannot_do(jit_compile, schedule, message):
    strategy = Cluster({"worker": [1, 2]}, "worker", 0)
    model = SimpleNamespace(distribute_strategy=strategy, jit_compile=jit_compile, run_eagerly=False)
    with pytest.raises(ValueError, match=message):
        check_strategy(model, kil.callbacks.Schedule.of(schedule))
    check_strategy(SimpleNamespace(**{**vars(model), "jit_compile": False}), kil.callbacks.Every(1))


# -- the sweep --------------------------------------------------------------------------------------------------------

OTHERS = ("together", "convolution", "sequence")


@pytest.fixture(scope="module", params=[2, 4])
def many(request, tmp_path_factory):
    cases = [f"{name}{word}" for name in OTHERS for word in (" single", "", " unwatched")]
    cases += [f"{name} adam{word}" for name in (*OTHERS, "dropout", "apart") for word in ("", " unwatched")]
    cases += [f"together extras{word}" for word in (" single", "", " unwatched")]
    cases += [f"convolution sgd mixed{word}" for word in ("", " unwatched")]
    cases += [f"apart sgd{word}" for word in ("", " unwatched", " eager")]
    return ran([tmp_path_factory.mktemp("many")], request.param, cases)[0]


@pytest.mark.sweep
@pytest.mark.parametrize("name", OTHERS)
def test_every_network(many, name):
    assert differing(first_epoch(many[f"{name} single"]), first_epoch(many[name])) == []


@pytest.mark.sweep
def test_every_training_ends_in_the_same_bits(many):
    watched = [case.removesuffix(" unwatched") for case in many if case.endswith("unwatched")]
    assert len(watched) == 11
    assert [case for case in watched if not same_bits(many[case], many[f"{case} unwatched"])] == []


@pytest.mark.sweep
def test_extras(many):
    single, run = (first_epoch(many[f"together extras{word}"]) for word in (" single", ""))
    assert differing(single, run) == []
    assert {key[1] for key in run[0].keys if key[2] == "inference_gap"} == {key[1] for key in run[0].keys if key[0] > 0}
    for p, q in zip(single, run, strict=True):
        assert len(p.channels) == len(q.channels) == 5
        for key, columns in p.channels.items():
            largest = np.abs(columns["mean"]).max() + columns["std"].max()
            for name, values in columns.items():
                assert np.abs(values - q.channels[key][name]).max() <= TOLERANCE * largest, (key, name)


@pytest.mark.sweep
def test_eager_and_by_hand(many):
    assert_by_hand(many["apart sgd"], max(len(values) for values in many["apart sgd"]["state"].values()))
    assert differing(many["apart sgd"]["profiles"][:STEPS], many["apart sgd eager"]["profiles"]) == []
