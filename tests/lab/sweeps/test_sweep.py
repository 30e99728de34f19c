"""sweep() in the process of the tests: what it stores, what it does not do twice, what it refuses."""

import importlib.util
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import keras
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from keras_initlab.lab.sweeps import configurations, sweep
from keras_initlab.lab.sweeps.rows import RowFile
from keras_initlab.lab.sweeps.trial import MEASURED

from .processes import QUICK, lines

GRID = {**QUICK, "initializer": ["he_normal", "keras_initlab>DeltaOrthogonal"], "seed": [0, 1]}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("swept")
    with ThreadPoolExecutor(1) as executor:
        return sweep(GRID, executor, out, verbose=False, rows="parquet"), out


def test_a_row_for_each_run(swept):
    runs, out = swept
    wanted = configurations(GRID)
    assert [{name: row[name] for name in wanted[0]} for row in runs] == wanted
    assert [row["error"] is None for row in runs] == [True, True, False, False]
    stored = [json.loads(line) for line in lines(out)]
    assert sorted(stored, key=lambda row: row["key"]) == sorted(runs, key=lambda row: row["key"])


def test_the_parquet_file_is_the_same_table(swept):
    import pyarrow.parquet as pq

    runs, out = swept
    assert sorted(pq.read_table(out / "rows.parquet").to_pylist(), key=lambda r: r["key"]) == sorted(
        runs, key=lambda row: row["key"]
    )


def test_what_is_done_is_not_done_again(swept, capsys):
    runs, out = swept
    before = lines(out)
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int)
        again = sweep(GRID, executor, out, verbose=False)
        assert again.rows == runs.rows
        assert lines(out) == before
        wider = sweep({**GRID, "seed": [1, 0, 2], "initializer": "HeNormal"}, executor, out, verbose=True)
    assert lines(out)[: len(before)] == before
    assert len(lines(out)) == len(before) + 1
    assert [row["seed"] for row in wider] == [1, 0, 2]
    assert wider[:2] == [runs[1], runs[0]]
    said = capsys.readouterr().err
    assert "3 runs, 2 of them done already." in said
    assert "0:00:00" in said


def test_without_an_executor_nothing_starts_where_nothing_is_missing(swept):
    runs, out = swept
    children = multiprocessing.active_children()
    assert sweep(GRID, out=out, verbose=False).rows == runs.rows
    assert multiprocessing.active_children() == children


@pytest.fixture(scope="module")
def page(swept):
    """What TensorBoard's HParams page asks of its backend, answered from the files."""
    _, out = swept
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(out / "tensorboard"))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(out))
    context = backend_context.Context(TBContext(data_provider=provider))
    ctx = RequestContext()
    metadata = context.hparams_metadata(ctx, "")
    experiment = context.experiment_from_metadata(ctx, "", True, metadata, [])
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE]
    )
    for info in experiment.hparam_infos:
        request.col_params.add(hparam=info.name)
    for info in experiment.metric_infos:
        request.col_params.add(metric=info.name)
    handler = list_session_groups.Handler(ctx, context, "", request)
    return experiment, handler.run().session_groups


def test_the_hparams_page_has_every_run(swept, page):
    runs, _ = swept
    experiment, groups = page
    assert {info.name for info in experiment.hparam_infos} == set(configurations(GRID)[0])
    assert {info.name.tag for info in experiment.metric_infos} == {*MEASURED, "seconds"}
    shown = {group.name: group for group in groups}
    for row in runs:
        group = shown[row["key"]]
        assert group.hparams["initializer"].string_value == row["initializer"]
        assert group.hparams["seed"].number_value == row["seed"]
        assert group.hparams["batchnorm"].bool_value is row["batchnorm"]
        values = {value.name.tag: value.value for value in group.metric_values}
        given = {name: row[name] for name in MEASURED if row[name] is not None}
        assert {name: values[name] for name in values if name != "seconds"} == pytest.approx(given, rel=1e-6)
        (session,) = group.sessions
        ended_well = session.status == api_pb2.STATUS_SUCCESS
        assert ended_well == (row["error"] is None)


def test_event_files_that_a_killed_sweep_lacks_are_made(swept, tmp_path):
    runs, _ = swept
    with RowFile(tmp_path) as file:
        for row in runs:
            file.append(row)
    sweep(GRID, out=tmp_path, verbose=False)
    made = [path.parent.name for path in tmp_path.glob("tensorboard/*/events.out.tfevents.*")]
    assert sorted(made) == sorted(row["key"] for row in runs)


class Client:
    def get_executor(self):
        return None


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"executor": 3}, TypeError, r"executor must be a concurrent\.futures\.Executor\. Received: executor=3"),
        ({"executor": Client()}, TypeError, r"Give what its get_executor\(\) returns"),
        ({"executor": ThreadPoolExecutor}, TypeError, r"give an object, ThreadPoolExecutor\("),
        ({"workers": 0}, ValueError, "`workers` must be a whole number from 1"),
        ({"workers": 2.0}, TypeError, "`workers` must be a whole number from 1"),
        ({"out": 3}, TypeError, "out must be the path of a folder. Received: out=3"),
        ({"rows": "csv"}, ValueError, '`rows` must be one of "jsonl", "parquet"'),
        ({"grid": {"depht": 3}}, ValueError, "Did you mean 'depth'"),
        ({"grid": "no.toml"}, FileNotFoundError, r"grid='no\.toml' cannot be read"),
    ],
)
def test_what_is_refused_before_anything_is_made(tmp_path, arguments, error, text):
    out = tmp_path / "out"
    with pytest.raises(error, match=text):
        sweep(**{"grid": {}, "out": out, **arguments})
    assert not out.exists()


def test_workers_of_another_executor(tmp_path):
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="workers is for the default executor"):
        sweep({}, executor, tmp_path, workers=2)


@pytest.mark.lab
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_pool_that_forks_after_tensorflow_was_used(tmp_path):
    assert float(keras.ops.sum(keras.ops.ones((300, 300)) @ keras.ops.ones((300, 300)))) == 300**3
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        runs = sweep({"depth": 2, "width": 8, "steps": 3}, pool, tmp_path, verbose=False)
    assert [row["error"] for row in runs] == [None]
    assert len(lines(tmp_path)) == 1


def test_an_executor_that_was_shut_down(tmp_path):
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match=r"cannot run a sweep: RuntimeError: .*after shutdown.*0 of 4 runs are done"):
        sweep(GRID, executor, tmp_path)
    assert lines(tmp_path) == []


class ShutDownAfter(ThreadPoolExecutor):
    """Takes some tasks, and then no more."""

    left = 3

    def submit(self, *arguments, **keywords):
        if not self.left:
            self.shutdown(wait=False)
        self.left -= 1
        return super().submit(*arguments, **keywords)


def test_what_an_executor_did_before_it_died_is_kept(tmp_path):
    grid = {**QUICK, "seed": range(4)}
    with ShutDownAfter(1) as executor, pytest.raises(RuntimeError, match=r"died: RuntimeError: .*2 of 4 runs are done"):
        sweep(grid, executor, tmp_path, verbose=False)
    assert [json.loads(line)["seed"] for line in lines(tmp_path)] == [0, 1]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"out='.*file' must be a folder that can be written to"):
        sweep(GRID, out=tmp_path / "file")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    assert importlib.util.find_spec("pyarrow")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"rows='parquet' needs pyarrow: pip install 'keras_initlab\[parquet\]'"):
        sweep(GRID, out=tmp_path / "out", rows="parquet")
    assert not (tmp_path / "out").exists()
