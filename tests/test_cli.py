"""The command: what it prints where, its exit codes, and what it says of what it cannot do."""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import keras_initlab
from keras_initlab import lab
from keras_initlab.cli import main
from keras_initlab.initializers.arguments import Choice, Flag
from keras_initlab.lab.options import Option

from .processes import PACKAGE_PATH

SMALL = ["linear-100", "--width", "32", "--depth", "6"]


@pytest.fixture
def initlab(tmp_path, monkeypatch):
    """Runs the command in an empty folder; returns exit code, output and error stream."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        done = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="initlab")
        assert done.exception is None or isinstance(done.exception, SystemExit), "a traceback is shown"
        assert "Traceback" not in done.stderr
        return done.exit_code, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Models and data, right ones and wrong ones."""
    folder = tmp_path_factory.mktemp("files")
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(8, "relu", name="hidden"), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    for name in ("model.keras", "model.h5"):
        model.save(folder / name)
    generator = np.random.default_rng(0)
    np.save(folder / "x.npy", generator.standard_normal((300, 20)))
    np.savez(folder / "xy.npz", x=generator.standard_normal((30, 20)), y=generator.standard_normal((30, 3)))
    np.savez(folder / "xy_wrong.npz", x=generator.standard_normal((30, 20)), y=generator.standard_normal((30, 7)))
    np.savez(folder / "lengths.npz", x=np.zeros((30, 20)), y=np.zeros((29, 3)))
    np.savez(folder / "others.npz", a=np.zeros(3), b=np.zeros(3))
    np.save(folder / "narrow.npy", np.zeros((4, 5)))
    np.save(folder / "objects.npy", np.array([{}], object))
    for name in ("empty.npy", "nothing.keras", "text.txt"):
        (folder / name).write_text("")

    @keras.saving.register_keras_serializable("tests")
    class Foreign(keras.layers.Layer):
        def call(self, x):
            return x

    keras.Sequential([keras.Input((3,)), Foreign()]).save(folder / "foreign.keras")
    del keras.saving.get_custom_objects()["tests>Foreign"]
    keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x)]).save(folder / "lambda.keras")
    keras.Sequential([keras.Input((3,)), keras.layers.Embedding(5, 2)]).save(folder / "words.keras")
    keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(2)]).save(folder / "series.keras")
    return folder


def test_help_and_version_name_every_command(initlab):
    code, out, err = initlab("--help")
    assert (code, err) == (0, "")
    for name in ("inspect", "list", "report", "run", "sweep"):
        assert f"\n  {name} " in out
    assert initlab("--version") == (0, f"initlab {keras_initlab.__version__}\n", "")


def test_list_shows_every_experiment(initlab):
    code, out, err = initlab("list")
    assert (code, err) == (0, "")
    listed = json.loads(initlab("list", "--json")[1])
    assert [one["name"] for one in listed] == list(lab.EXPERIMENTS)
    for name, experiment in lab.EXPERIMENTS.items():
        assert f" {name} " in out
        assert experiment.title in out
    assert listed[0]["options"][0] == {
        "name": "width",
        "default": 512,
        "allowed": "a whole number from 2 to 8192",
        "help": "units of each layer",
    }


@pytest.mark.parametrize("name", lab.EXPERIMENTS)
def test_the_help_of_an_experiment_is_its_lesson_and_its_options(name, initlab):
    code, out, _ = initlab("run", name, "--help")
    experiment, said = lab.EXPERIMENTS[name], " ".join(out.split())
    assert code == 0
    assert experiment.title in said
    assert experiment.lesson.split("\n\n")[0][:60] in said
    for option in experiment.options:
        assert f"--{option.name.replace('_', '-')}" in out
        assert option.help in said


def test_run_saves_shows_and_reports(initlab, tmp_path):
    code, out, err = initlab("run", *SMALL, "--seed", 4, "--out", "here")
    assert (code, err) == (0, "")
    for said in ("expected", "measured", "verdict", "linear-100", "as expected", "Report: here/report.html"):
        assert said in out
    (folder,) = [path for path in (tmp_path / "here").iterdir() if path.is_dir()]
    saved = lab.Result.load(folder)
    assert (saved.seed, saved.options) == (4, {"width": 32, "depth": 6})
    assert "seed 4" in (tmp_path / "here/report.html").read_text()


def test_run_prints_json_and_nothing_else(initlab):
    # What stands before the name counts too.
    code, out, err = initlab("run", "--seed", 4, "--json", *SMALL)
    data = json.loads(out)
    assert (code, err, data["failed"], data["report"]) == (0, "", {}, "runs/report.html")
    (result,) = data["results"]
    assert (result["experiment"], result["seed"], result["options"]) == ("linear-100", 4, {"width": 32, "depth": 6})
    assert all(check["holds"] for check in result["checks"])


def test_run_with_other_options_ends_with_0_whatever_it_finds(initlab, monkeypatch):
    monkeypatch.setitem(lab.EXPERIMENTS, "surprise", _experiment(lambda run: run.expect(lab.Check.equal("one", 2, 1))))
    code, out, _ = initlab("run", "surprise")
    assert (code, "NOT as expected" in out) == (0, True)


def test_all_goes_on_after_an_error_and_ends_with_1(initlab, monkeypatch, tmp_path):
    def fails(run):
        raise KeyError("<b>no</b>")

    two = {name: lab.EXPERIMENTS[name] for name in ("linear-100", "nine-layers")}
    monkeypatch.setattr(lab, "EXPERIMENTS", two)
    assert initlab("run", "--all", "--out", "well")[0] == 0
    first = {"fails": _experiment(fails), **two}
    monkeypatch.setattr(lab.experiment, "EXPERIMENTS", first)
    monkeypatch.setattr(lab, "EXPERIMENTS", first)
    code, out, err = initlab("run", "--all")
    assert code == 1
    assert "KeyError: '<b>no</b>'" in out
    assert "nine-layers" in out
    assert "linear-100: " in err
    assert "&lt;b&gt;no" in (tmp_path / "runs/report.html").read_text()
    assert len([path for path in (tmp_path / "runs").iterdir() if path.is_dir()]) == 2


def test_what_was_done_is_kept_on_an_interrupt(initlab, monkeypatch, tmp_path):
    def interrupted(run):
        raise KeyboardInterrupt

    two = {"nine-layers": lab.EXPERIMENTS["nine-layers"], "stopped": _experiment(interrupted)}
    monkeypatch.setattr(lab, "EXPERIMENTS", two)
    code, out, _ = initlab("run", "--all")
    assert code == 1
    assert "1 of 2 experiments were not run" in out
    assert "Weights slightly above" in (tmp_path / "runs/report.html").read_text()


def _experiment(measure, *options):
    return lab.Experiment("surprise", "A title", "A lesson.", "A source", options, measure)


def test_flags_choices_and_names_of_two_words_become_options(initlab, monkeypatch):
    seen = []
    options = (
        Option("with_bias", True, Flag(), "whether there is one"),
        Option("law", "he", Choice(("he", "glorot")), "of the kernels"),
    )
    monkeypatch.setitem(lab.EXPERIMENTS, "surprise", _experiment(lambda run, **given: seen.append(given), *options))
    assert initlab("run", "surprise")[0] == 0
    assert initlab("run", "surprise", "--no-with-bias", "--law", "glorot")[0] == 0
    assert seen == [{"with_bias": True, "law": "he"}, {"with_bias": False, "law": "glorot"}]
    code, _, err = initlab("run", "surprise", "--law", "hee")
    assert (code, "'hee' is not one of 'he', 'glorot'" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 2, "No such command 'nothing'"),
        (["run"], 2, "Name an experiment, or ask for --all."),
        (["run", "liner-100"], 2, "No experiment 'liner-100'. Did you mean 'linear-100'? There are linear-100"),
        (["run", "linear-100", "--widht", "3"], 2, "No such option '--widht'"),
        (["run", "linear-100", "--width", "1"], 2, "must be a whole number from 2 to 8192. Received: width=1."),
        (["run", "linear-100", "--width", "many"], 2, "'many' is not a valid integer"),
        (["run", "nine-layers", "--gain", "1"], 2, "must be a number above 1 and up to 10. Received: gain=1.0."),
        (["run", "linear-100", "--seed", "-1"], 2, "`seed` must be a whole number from 0"),
        (["run", "--all", "linear-100"], 2, "--all runs every experiment. Leave it out, or leave 'linear-100' out."),
        (["run", "linear-100", "--out", "file"], 2, "'file' is a file"),
        (["run", "linear-100", "--out", "file/below"], 1, "out='file/below' must be a folder that can be written to"),
        (["report", "nowhere"], 2, "'nowhere' does not exist"),
        (["report", "."], 1, "There is nothing to report in '.'. Give a folder that `initlab run`"),
        (["inspect", "nowhere.keras"], 2, "'nowhere.keras' does not exist"),
        (["inspect", "file"], 2, "`model` must be a path that ends in .keras or .h5"),
        (["sweep", "nowhere.toml"], 2, "'nowhere.toml' does not exist"),
        (["sweep", "wrong.toml"], 1, "A grid has no key 'dept'. Did you mean 'depth'?"),
        (["sweep", "wrong.toml", "--workers", "0"], 2, "`workers` must be a whole number from 1 to 1024"),
        (["sweep", "wrong.toml", "--workers", "2", "--dask", "x"], 2, "a Dask cluster has its own. Leave one out."),
        (["sweep", "wrong.toml", "--dask", "tcp://127.0.0.1:1"], 1, "no Dask scheduler at 'tcp://127.0.0.1:1'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_in_a_line(arguments, code, message, initlab, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "wrong.toml").write_text("dept = 3")
    found, out, err = initlab(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir()), "nothing was run"


@pytest.mark.parametrize("model", ["model.keras", "model.h5"])
def test_inspect_shows_every_layer(model, initlab, files):
    code, out, err = initlab("inspect", files / model, "--data", files / "x.npy")
    assert (code, err) == (0, "Measured on the first 256 of 300 examples.\n")
    assert "hidden" in out
    assert "gradient" not in out


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")  # by the test's own load_model
def test_inspect_measures_gradients_where_there_are_targets(initlab, files):
    code, out, err = initlab("inspect", files / "model.keras", "--data", files / "xy.npz", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert {"activation", "activation_gradient", "gradient", "weight"} <= {row["quantity"] for row in rows}
    with np.load(files / "xy.npz") as data:
        model = keras.models.load_model(files / "model.keras")
        profile = keras_initlab.observe(model, data["x"].astype("float32"), data["y"])
    assert rows == json.loads(json.dumps(profile.rows))


def test_inspect_takes_noise_where_there_is_no_data(initlab, files):
    first, again, other = (initlab("inspect", files / "model.keras", "--seed", seed) for seed in (1, 1, 2))
    assert first == again
    assert first[1] != other[1]
    assert first[2].startswith("No --data: measured on 256 examples of noise N(0, 1).")


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("model.keras", "narrow.npy", "`x` must have shape (examples, 20), as the model takes. It has shape (4, 5)."),
        ("model.keras", "objects.npy", "cannot be read as numbers of NumPy (.npy or .npz): Object arrays"),
        ("model.keras", "empty.npy", "cannot be read as numbers of NumPy"),
        ("model.keras", "others.npz", "must hold an array `x`, and `y` if there are targets. It holds a, b."),
        ("model.keras", "lengths.npz", "must have one length, the number of examples. They are x (30, 20), y (29, 3)."),
        ("model.keras", "xy_wrong.npz", "The data does not fit the model: y must fit the model's outputs"),
        ("nothing.keras", "x.npy", "cannot be loaded as a Keras model"),
        ("foreign.keras", None, "Keras does not know 'Foreign'. Import what defines it and use Python: observe("),
        ("lambda.keras", None, "it holds Python code, which is not run. If you trust it, use Python: observe("),
        ("words.keras", None, "Noise is no input for this model"),
        ("series.keras", None, "Noise is no input for this model"),
    ],
)
def test_inspect_says_what_does_not_fit(model, data, message, initlab, files):
    given = [] if data is None else ["--data", files / data]
    code, out, err = initlab("inspect", files / model, *given)
    assert (code, out) == (1, "")
    assert message in err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


def test_report_names_what_it_cannot_read_and_ends_with_1(initlab, tmp_path):
    assert initlab("run", *SMALL)[0] == 0
    assert initlab("report", "runs", "--out", "page.html") == (0, "Report: page.html\n", "")
    (tmp_path / "runs/linear-100-0123456789abcdef").mkdir()
    (tmp_path / "runs/linear-100-0123456789abcdef/result.json").write_text("{")
    code, out, err = initlab("report", "runs")
    assert (code, out) == (1, "Report: runs/report.html\n")
    assert err.startswith("Not in the report: runs/linear-100-0123456789abcdef: ")


def test_missing_libraries_are_said_before_anything_runs(initlab, monkeypatch, tmp_path):
    monkeypatch.setattr("keras_initlab.commands.console.find_spec", lambda name: None if name == "plotly" else name)
    code, _, err = initlab("run", *SMALL)
    assert (code, err) == (1, "Error: This needs plotly: pip install 'keras_initlab[lab]'.\n")
    assert not (tmp_path / "runs").exists()


def command(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PATH)}
    return [sys.executable, "-m", "keras_initlab.cli", *arguments], {"env": environment, "text": True, **options}


def test_a_reader_that_goes_away_is_met_with_silence(tmp_path):
    line, options = command("list", stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    with subprocess.Popen(line, **options) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert "BrokenPipe" not in err
    assert "Traceback" not in err


@pytest.mark.lab
def test_a_process_that_is_interrupted_keeps_what_it_did(tmp_path):
    line, options = command("run", "--all", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with subprocess.Popen(line, **options) as process:
        for said in process.stderr:
            if said.startswith("nine-layers: "):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "experiments were not run" in out
    assert "Weights slightly above" in (tmp_path / "runs/report.html").read_text()
    saved = [lab.Result.load(path).experiment for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    assert {"linear-100", "nine-layers"} <= set(saved)


@pytest.mark.lab
def test_a_sweep_trains_in_processes_of_its_own(tmp_path):
    (tmp_path / "grid.toml").write_text('initializer = ["zeros", "he_normal"]\ndepth = 1\nwidth = 8\nsteps = 2\n')
    arguments = ["sweep", "grid.toml", "--workers", "1", "--rows", "parquet", "--json"]
    line, options = command(*arguments, capture_output=True, cwd=tmp_path, timeout=300)
    done = subprocess.run(line, **options)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["initializer"], row["error"]) for row in rows] == [("Zeros", None), ("HeNormal", None)]
    assert sorted(path.name for path in (tmp_path / "runs").glob("rows.*")) == ["rows.jsonl", "rows.parquet"]
