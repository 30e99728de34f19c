"""The report's file: what is in it, what is not, and what it says of what cannot be read."""

import html
import json
import re
import shutil

import keras
import numpy as np
import pytest

import keras_initlab as kil
from keras_initlab import lab
from keras_initlab.lab.report import collect, report
from keras_initlab.lab.report.pictures import over_grid, varied


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with runs of two experiments, one of them with another seed too."""
    folder = tmp_path_factory.mktemp("runs")
    lab.run("nine-layers", out=folder, verbose=False)
    for seed in (0, 7):
        lab.run("linear-100", width=32, depth=6, seed=seed, out=folder, verbose=False)
    return folder


@pytest.fixture
def runs(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "runs")


def folder_of(runs, name):
    return next(path for path in sorted(runs.iterdir()) if path.name.startswith(name))


def text_of(path):
    return html.unescape(re.sub(r"<script>.*?</script>|<style>.*?</style>", "", path.read_text(), flags=re.DOTALL))


def rows_of(values):
    return [
        {
            "key": f"{i}",
            "initializer": name,
            "depth": depth,
            "width": 8,
            "seed": seed,
            "accuracy": value,
            "error": error,
        }
        for i, (name, depth, seed, value, error) in enumerate(values)
    ]


ROWS = rows_of(
    [
        ("HeNormal", 2, 0, 0.8, None),
        ("HeNormal", 2, 1, 0.9, None),
        ("HeNormal", 4, 0, 0.7, None),
        ("Zeros", 2, 0, 0.1, None),
        ("Zeros", 4, 0, None, "ValueError: <b>no</b>"),
    ]
)


def test_a_page_tells_of_everything_in_a_folder(runs, tmp_path):
    page = report(runs, tmp_path / "page.html")
    text = text_of(page)
    for result in collect(runs).results:
        experiment = lab.EXPERIMENTS[result.experiment]
        for said in (experiment.title, experiment.lesson.split("\n\n")[0], experiment.source):
            assert said in text
        for check in result.checks:
            assert check.what in text
            assert check.expectation in text
        assert f"tensorflow {result.versions['tensorflow']}" in text
    assert "linear-100, width 32, depth 6, seed 7" in text
    assert "<dt>Seed</dt><dd>7</dd>" in text
    assert text.index("A hundred matrix products") < text.index("Weights slightly above"), "in the order told"
    anchors = set(re.findall(r'href="#([^"]+)"', text))
    assert len(anchors) == 3
    assert anchors < set(re.findall(r'id="([^"]+)"', text))


def test_the_page_is_whole_by_itself(runs, tmp_path):
    source = report(runs, tmp_path / "page.html").read_text()
    assert source.count("plotly.js v") == 1
    page = re.sub(r"<script>.*?</script>", "", source, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_pictures_are_json_that_no_name_can_end(tmp_path):
    name = "</script><script>alert(1)</script>"
    line = lab.figures.Line.of(name, [1, 2])
    result = lab.run("nine-layers", verbose=False)
    figures = (lab.figures.Lines(name, name, name, (line,)), lab.figures.Table.of(name, [name], [[name]]))
    marked = lab.Result("nine-layers", {name: name}, 0, dict(result), result.checks, figures, 1.0, {name: name})
    source = report(marked, tmp_path / "page.html").read_text()
    assert "<script>alert" not in source
    pictures = re.findall(r'<script type="application/json">(.*?)</script>', source, re.DOTALL)
    assert len(pictures) == 3, "one figure, and what the Profiles say of signals and gradients"
    assert json.loads(pictures[0])["data"][0]["name"] == html.escape(name)
    assert html.escape(name) in source


def test_damaged_runs_are_named_and_the_others_told(runs, tmp_path):
    damaged, interrupted = folder_of(runs, "nine-layers"), folder_of(runs, "linear-100")
    (damaged / "result.json").write_text("{")
    (interrupted / "result.json").unlink()
    text = text_of(report(runs, tmp_path / "page.html"))
    assert "Not in this report:" in text
    assert f"{damaged}: '{damaged / 'result.json'}' is no run of an experiment" in text
    assert f"{interrupted}: the run was interrupted: there is no result.json. Run it again." in text
    assert "1 run of experiments, all as expected" in text


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"There is no run to report. Give a folder that `initlab run --out`"):
        report(tmp_path, tmp_path / "page.html")
    with pytest.raises(FileNotFoundError, match=r"There is no folder '.*nowhere'. Give the folder"):
        report(tmp_path / "nowhere", tmp_path / "page.html")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"'.*file' is a file. Give the folder"):
        report(tmp_path / "file", tmp_path / "page.html")
    with pytest.raises(
        TypeError, match=r"runs must be a folder, a Result, or several of them. Received: 3 of type int"
    ):
        report([3], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_rows_of_a_sweep_are_told(tmp_path):
    lines = [json.dumps(row) for row in ROWS]
    # A sweep that was killed may have cut off its last line.
    (tmp_path / "rows.jsonl").write_text("\n".join([*lines, lines[0][:20]]))
    text = text_of(report(tmp_path, tmp_path / "page.html"))
    assert "5 runs, 1 of them with an error; all with width 8." in text
    assert "ValueError: <b>no</b>" in text, "and in the source it is escaped, as unescape() has undone"
    assert "&lt;b&gt;no" in (tmp_path / "page.html").read_text()


def test_damaged_rows_are_named_and_those_before_told(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[0]) + "\nnonsense\n" + json.dumps(ROWS[1]) + "\n")
    found = collect(tmp_path)
    assert found.sweeps == {str(tmp_path): ROWS[:1]}
    assert found.problems == [
        f"{tmp_path}: line 2 of rows.jsonl is no row of a sweep. Rows after it are left out; remove it."
    ]


def test_a_sweep_is_drawn_against_what_it_varied():
    (drawn,) = over_grid(ROWS)
    found = {trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in drawn.data}
    assert found == {"HeNormal": {2: pytest.approx(0.85), 4: 0.7}, "Zeros": {2: 0.1}}
    assert varied(ROWS) == (["initializer", "depth", "seed", "accuracy", "error"], {"width": 8})
    assert over_grid([{"something": "else"}]) == over_grid(ROWS[:1]) == []


def test_tables_of_rows_are_read_where_there_are_no_lines(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    assert collect(tmp_path).sweeps == {str(tmp_path): ROWS}


def test_a_logged_training_is_told_by_its_first_and_last_step(tmp_path):
    model = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(8, "tanh", name=f"tanh_{i}") for i in range(3))])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).standard_normal((64, 4)).astype("float32")
    logged = kil.callbacks.LayerStatistics(tmp_path, update_freq=1)
    model.fit(x, np.zeros((64, 8)), batch_size=16, verbose=0, callbacks=[logged])
    with (tmp_path / "profiles.jsonl").open("ab") as file:
        file.write(b'{"version": 1, "st')  # a training that was killed
    (found,) = collect(tmp_path).logs.values()
    every = kil.Profile.read(tmp_path)
    assert found == (every[0], every[-1])
    assert len(every) == 4
    source = report(tmp_path, tmp_path / "page.html").read_text()
    assert f"step {every[0].step} and step {every[-1].step}" in source
    pictures = [json.loads(p) for p in re.findall(r'"application/json">(.*?)</script>', source, re.DOTALL)]
    titles = [picture["layout"]["title"]["text"] for picture in pictures]
    assert titles[:2] == ["Outputs of the layers", "Gradients of the layers' outputs"]
    assert len(titles) == 4, "and the histograms of both"
    assert pictures[0]["layout"]["xaxis"]["ticktext"] == ["tanh_0", "tanh_1", "tanh_2"]
    np.testing.assert_allclose(pictures[0]["data"][1]["y"], every[-1].column("std")[1])


def test_a_report_leaves_the_old_one_where_it_cannot_be_written(runs, tmp_path):
    page = report(runs, tmp_path / "page.html")
    before = page.read_bytes()
    with pytest.raises(OSError, match="Is a directory"):
        report(runs, tmp_path)
    assert page.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))
