"""Writers: what is refused, what each of them stores, and what the thread does when one fails."""

from __future__ import annotations

import json
import struct
import sys
import textwrap
import threading
import time

import pyarrow.dataset
import pytest

import keras_initlab as kil
from keras_initlab.callbacks import EventFiles, JsonLines, MLflow, Parquet, Wandb, Writer
from keras_initlab.callbacks.tensorboard_events import scalars_of
from keras_initlab.callbacks.writers import checked_max_bytes, checked_writers, open_writers
from keras_initlab.callbacks.writers.background import FLUSH_SECONDS, QUEUED, BackgroundWriter

from ..processes import ROOT, python
from .profiles import made


class Kept(Writer):
    """Notes what is asked of it; fails where it is told to."""

    def __init__(self, fail=None):
        self.done, self.steps, self.fail = [], [], fail

    def __getattribute__(self, name):
        if name in ("open", "write", "flush", "close"):
            self.done.append((name, time.monotonic()))
            if name == self.fail:
                raise OSError(28, "No space left on device")
        return super().__getattribute__(name)

    def write(self, profile):
        self.steps.append(profile.step)

    @property
    def names(self):
        return [name for name, _ in self.done]


# What may stand in `writers`.


def test_functions_are_wrapped_and_writers_kept(tmp_path):
    seen, lines = [], JsonLines(tmp_path)
    kept, function = checked_writers([lines, seen.append])
    assert kept is lines
    function.write(made(5, histograms=False))
    assert [profile.step for profile in seen] == [5]
    assert checked_writers(()) == ()


class Like:
    def write(self, profile):
        """Looks like a writer, as every open file does."""


@pytest.mark.parametrize(
    ("writers", "said"),
    [
        (3, r"writers must be a tuple or list of writers. Received: writers=3"),
        (Kept(), r"Received: writers=Kept\(\). Put a single writer into a tuple: writers=\(writer,\)"),
        ("logs", r"must be a tuple or list of writers. Received: writers='logs'"),
        ((Kept(), 3), r"Received: writers\[1\]=3. Give an object such as JsonLines\('logs'\), or a function"),
        ((Parquet,), r"Received: writers\[0\]=<class .*Parquet'>. That is the class: give an object, Parquet\(...\)"),
        ((lambda: None,), r"callables that take a Profile. Received: writers\[0\]=<function"),
        ((Like(),), r"Received: writers\[0\]=.*Like object.*Derive Like from keras_initlab.callbacks.Writer"),
    ],
)
def test_what_is_no_writer_is_refused(writers, said):
    with pytest.raises(TypeError, match=said):
        checked_writers(writers)


def test_max_bytes_is_checked():
    assert checked_max_bytes(10) == 10
    with pytest.raises(TypeError, match=r"max_bytes must be a number of bytes. Received: max_bytes=1.5"):
        checked_max_bytes(1.5)
    with pytest.raises(ValueError, match=r"max_bytes must be positive. Received: max_bytes=0. To write no files, leav"):
        checked_max_bytes(0)


def test_folders_are_checked():
    for writer in (EventFiles, JsonLines):
        with pytest.raises(TypeError, match=r"log_dir must be the path of a folder. Received: log_dir=3"):
            writer(3)
    with pytest.raises(TypeError, match=r"folder must be the path of a folder. Received: folder=3"):
        Parquet(3)


# The thread.


def test_everything_queued_is_written_on_close():
    kept = Kept()
    writer = BackgroundWriter([kept])
    for step in range(1, 100):
        writer.write(made(step, histograms=False))
    writer.close()
    writer.close()
    writer.write(made(200))
    assert kept.steps == list(range(1, 100))
    assert kept.names.count("close") == 1
    assert writer.messages() == []


def test_the_thread_makes_the_profile():
    made_in = []

    class Pending:
        @property
        def profile(self):
            made_in.append(threading.current_thread())
            return made(9, histograms=False)

    kept = Kept()
    writer = BackgroundWriter([kept])
    writer.write(Pending())
    writer.close()
    assert kept.steps == [9]
    assert [thread is threading.main_thread() for thread in made_in] == [False]


def test_what_cannot_be_made_is_told_once_and_the_next_is_written():
    class Broken:
        @property
        def profile(self):
            raise RuntimeError("no such layout")

    kept = Kept()
    writer = BackgroundWriter([kept])
    for item in (Broken(), made(1), Broken(), made(2)):
        writer.write(item)
    writer.close()
    assert kept.steps == [1, 2]
    (message,) = writer.messages()
    assert "no such layout" in message


@pytest.mark.parametrize("fail", ["write", "flush", "close"])
def test_a_writer_that_fails_does_not_stop_the_others(fail):
    bad, good = Kept(fail), Kept()
    writer = BackgroundWriter([bad, good])
    for step in (1, 2, 3):
        writer.write(made(step, histograms=False))
        time.sleep(1.2 * FLUSH_SECONDS if fail == "flush" and step < 3 else 0)
    writer.close()
    assert good.steps == [1, 2, 3]
    ((name, error),) = writer.failures
    assert (name, error.errno) == ("Kept()", 28)
    (message,) = writer.messages()
    assert message.startswith("LayerStatistics stopped writing to Kept(): [Errno 28] No space left on device. Training")
    assert writer.messages() == []
    # After the failure it is closed, and nothing else is asked of it.
    assert bad.names[bad.names.index(fail) + 1 :] == ["close"]


def test_what_is_written_is_flushed_within_a_second():
    kept = Kept()
    writer = BackgroundWriter([kept])
    end = time.monotonic() + 2.2
    while time.monotonic() < end:  # without a pause in which the queue would be empty for long
        writer.write(made(1, layers=1, histograms=False))
        time.sleep(0.01)
    flushes = [moment for name, moment in kept.done if name == "flush"]
    for written in (moment for name, moment in kept.done if name == "write" and moment < end - 1):
        assert any(written <= flushed <= written + 1 for flushed in flushes)
    # And with a pause: one flush, and none for nothing.
    time.sleep(2.5 * FLUSH_SECONDS)
    before = kept.names.count("flush")
    time.sleep(2 * FLUSH_SECONDS)
    assert kept.names[-1] == "flush"
    assert kept.names.count("flush") == before
    writer.close()


def test_a_full_queue_makes_training_wait():
    gate, kept = threading.Event(), Kept()

    def slow(profile):
        gate.wait()
        kept.write(profile)

    writer = BackgroundWriter(checked_writers([slow]))
    profile, written = made(1, layers=1, histograms=False), []

    def train():
        for step in range(QUEUED + 10):
            writer.write(profile)
            written.append(step)

    training = threading.Thread(target=train)
    training.start()
    training.join(timeout=0.5)
    assert len(written) == QUEUED + 1  # one is with the writer, and one more waits at the door
    gate.set()
    training.join()
    writer.close()
    assert len(kept.steps) == QUEUED + 10


# Opening.


def test_nothing_to_write_to_needs_no_thread():
    assert open_writers() is None


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "logs", "/proc/logs"):
        with pytest.raises(OSError, match=rf"log_dir='{folder}' cannot be written to: .*or log_dir=None to keep"):
            open_writers(folder)
    with pytest.raises(OSError, match=r"Not a directory|file exists"):
        open_writers(writers=(Parquet(tmp_path / "file" / "table"),))


def test_a_writer_that_cannot_open_closes_those_before_it(tmp_path):
    first, second = Kept(), Kept("open")
    with pytest.raises(OSError, match="No space left"):
        open_writers(tmp_path, (first, second))
    assert first.names == ["open", "close"]


FULL = """
    import resource, signal
    from keras_initlab.callbacks import EventFiles, JsonLines, MLflow, Parquet
    from keras_initlab.callbacks.writers.background import BackgroundWriter
    from tests.callbacks.profiles import made

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    good = []
    class Good(JsonLines):
        def write(self, profile):
            good.append(profile.step)
    writers = [JsonLines({folder!r}), EventFiles({folder!r}), Parquet({folder!r} + "/table"), Good({folder!r})]
    writer = BackgroundWriter(writers)
    profiles = [made(step) for step in range(1, 41)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    for profile in profiles:
        writer.write(profile)
    writer.close()
    print(len(good), sorted(name.split("(")[0] for name, _ in writer.failures))
"""


def test_a_disk_that_fills_in_the_middle(tmp_path):
    """A limit on the size of files stands in for the disk. What was written before can be read; all goes on after."""
    done = python("-c", textwrap.dedent(FULL.format(folder=str(tmp_path))), cwd=ROOT, path=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "40 ['EventFiles', 'JsonLines', 'Parquet']"
    steps = [profile.step for profile in kil.Profile.read(tmp_path)]
    assert 3 < len(steps) < 40
    assert steps == list(range(1, len(steps) + 1))
    lines = JsonLines(tmp_path)
    lines.write(made(50))
    lines.close()
    assert [profile.step for profile in kil.Profile.read(tmp_path)] == [*steps, 50]
    assert not list((tmp_path / "table").iterdir())  # a part that does not fit leaves nothing broken behind


# Parquet.


def rows_of(profiles):
    bucket = ("lower", "upper", "count")
    for row in (row for profile in profiles for row in profile.rows):
        histogram = row["histogram"]
        yield {**row, "histogram": histogram and [dict(zip(bucket, each, strict=True)) for each in histogram]}


@pytest.mark.parametrize("histograms", [True, False])
def test_parquet_reads_back_as_the_rows(tmp_path, histograms):
    profiles = [made(step, histograms=histograms) for step in (1, 2, 3)]
    parquet = Parquet(tmp_path)
    for profile in profiles:
        parquet.write(profile)
        parquet.flush()
    parquet.close()
    table = pyarrow.dataset.dataset(tmp_path).to_table()
    assert table.to_pylist() == list(rows_of(profiles))
    assert len(list(tmp_path.iterdir())) == 1


def test_parquet_is_whole_after_each_flush_and_begins_new_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_initlab.callbacks.writers.parquet.ROWS_IN_A_PART", 100)
    parquet = Parquet(tmp_path)
    for step in range(1, 8):  # 39 rows each: parts end after three
        parquet.write(made(step, histograms=False))
        parquet.flush()
        steps = pyarrow.dataset.dataset(tmp_path).to_table()["step"].to_pylist()
        assert sorted(set(steps)) == list(range(1, step + 1))
        assert len(steps) == 39 * step
    assert len(list(tmp_path.iterdir())) == 3
    parquet.close()
    parquet.write(made(8, histograms=False))  # the next training
    parquet.close()
    assert len(pyarrow.dataset.dataset(tmp_path).to_table()) == 39 * 8


@pytest.mark.parametrize(("name", "module"), [("Parquet", "pyarrow"), ("MLflow", "mlflow"), ("Wandb", "wandb")])
def test_what_is_not_installed_is_named(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{name} needs {module}: pip install {module}"):
        getattr(kil.callbacks, name)(*["folder"][: name == "Parquet"])


# Trackers.


def with_odd_name(step):
    profile = made(step, histograms=False)
    return kil.Profile(step, [(d, f"{layer}#2", *rest) for d, layer, *rest in profile.keys], profile.statistics)


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield mlflow
    mlflow.set_tracking_uri(before)


def logged(mlflow, run_id, tag):
    history = mlflow.MlflowClient().get_metric_history(run_id, tag)
    return [(metric.step, metric.value) for metric in history]


def test_mlflow_has_every_scalar_by_step(mlflow):
    profiles = [with_odd_name(step) for step in (3, 6)]
    with mlflow.start_run() as run:
        writer = open_writers(writers=(MLflow(),))
        for profile in profiles:
            writer.write(profile)
        writer.close()
        assert mlflow.active_run() is not None  # the user's run is the user's to end
    assert writer.failures == []
    found = mlflow.get_run(run.info.run_id).data.metrics
    assert len(found) == len(scalars_of(profiles[0]))
    for tag in ("activation_std/001_net/layer_1{}", "update_ratio_log10/002_net/layer_2{}/kernel"):
        expected = [(profile.step, scalars_of(profile)[tag.format("#2")]) for profile in profiles]
        assert logged(mlflow, run.info.run_id, tag.format("_2")) == expected


def test_mlflow_starts_and_ends_a_run_where_there_is_none(mlflow):
    tracker = MLflow()
    for step in (1, 2):
        tracker.open()
        assert mlflow.active_run() is None
        tracker.write(made(step, layers=1, histograms=False))
        tracker.close()
    runs = mlflow.MlflowClient().search_runs(["0"])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    given = MLflow(runs[0].info.run_id)
    given.write(made(7, layers=1, histograms=False))
    given.close()
    assert [step for step, _ in logged(mlflow, runs[0].info.run_id, "weight_std/000_net/layer_0/kernel")][-1] == 7


def test_more_metrics_than_mlflow_takes_at_once(mlflow):
    tracker, profile = MLflow(), made(layers=40, histograms=False)
    assert len(scalars_of(profile)) > 1000
    tracker.write(profile)
    tracker.close()
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert len(run.data.metrics) == len(scalars_of(profile))


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path)), ("WANDB_ERROR_REPORTING", "false")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    yield wandb
    wandb.teardown()  # the next one is to read the environment anew


def records(data, block=2**15, header=7):
    """The records of a log of LevelDB's format, which a run's file is: in blocks, a record in parts over several."""
    place, record = header, b""  # the file has a header of its own, as long
    while place < len(data):
        if block - place % block < header:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        record += data[place + header : place + header + length]
        place += header + length
        if kind in (1, 4):  # the whole of it, or its last part
            yield record
            record = b""


def stored(wandb, folder):
    """What the files of offline runs hold: a dictionary for each call of `log`, and the metrics that were defined."""
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its process writes the last records after `finish` has returned
    logged, defined = [], {}
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in records(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("history"):
                items = record.history.item
                logged.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items})
            if record.HasField("metric"):
                defined[record.metric.name or record.metric.glob_name] = record.metric.step_metric
    return logged, defined


def test_wandb_has_every_scalar_over_the_training_step(wandb, tmp_path):
    profiles = [made(step, histograms=False) for step in (3, 6)]
    run = wandb.init(mode="offline", dir=tmp_path)
    writer = open_writers(writers=(Wandb(run),))
    for profile in profiles:
        writer.write(profile)
    writer.close()
    run.log({"loss": 1.0})  # the user's run goes on
    run.finish()
    assert writer.failures == []
    logged, defined = stored(wandb, tmp_path)
    assert len(logged) == 3
    for found, profile in zip(logged, profiles, strict=False):
        expected = {"layer_statistics/step": profile.step, **scalars_of(profile)}
        assert {name: value for name, value in found.items() if not name.startswith("_")} == expected
    assert defined["activation_std/*"] == "layer_statistics/step"


def test_wandb_starts_and_ends_a_run_where_there_is_none(wandb, tmp_path):
    tracker = Wandb()
    tracker.open()
    assert wandb.run is not None
    tracker.write(made(4, layers=1, histograms=False))
    tracker.close()
    assert wandb.run is None
    assert [found["layer_statistics/step"] for found in stored(wandb, tmp_path)[0]] == [4]
