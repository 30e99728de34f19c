"""What experiments are made of: options, checks, figures, results, and finding one by its name."""

import json
import math
import os
from typing import Annotated

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.figures import Heatmap, Line, Lines, Ridges, Table, figure_from_dict, figure_to_dict, numbers
from keras_initlab.lab.images import images
from keras_initlab.lab.options import options_of
from keras_initlab.lab.result import Result, key_of, write_whole

from ..processes import python

CHECK = lab.Check


@pytest.fixture(scope="module")
def result():
    return lab.run("linear-100", width=32, depth=6, seed=3, verbose=0)


@pytest.mark.parametrize(
    ("check", "holds", "expectation"),
    [
        (CHECK.equal("a", 1.0, 1), True, "1"),
        (CHECK.equal("a", 1.2, 1, 0.1), False, "1 ± 0.1"),
        (CHECK.equal("a", math.nan, 1, 9), False, "1 ± 9"),
        (CHECK.within_factor("a", 2.0, 1, 3), True, "1 (× or ÷ 3)"),
        (CHECK.within_factor("a", 0.3, 1, 3), False, "1 (× or ÷ 3)"),
        (CHECK.at_least("a", 0.5, 0.5), True, "≥ 0.5"),
        (CHECK.at_most("a", math.inf, 0.5), False, "≤ 0.5"),
    ],
)
def test_checks(check, holds, expectation):
    assert check.holds is holds
    assert check.expectation == expectation
    assert check.verdict == ("as expected" if holds else "NOT as expected")


FIGURES = [
    Lines("t", "x", "y", (Line.of("a", [1, np.nan, np.inf]), Line.of("a", [1, 2], [3, 4], predicted=True)), log_y=True),
    Heatmap("t", "x", "y", "v", numbers([1, 2]), numbers([3]), (numbers([5, -np.inf]),), (Line.of("b", [1]),)),
    Ridges("t", "x", ("one",), ((numbers([0, 1, 5]), numbers([1, 2, 7])),)),
    Table.of("t", ["a", "b"], [["x", 1], [2.5, np.float32(1)]]),
]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_figures_survive_json(figure):
    text = json.dumps(figure_to_dict(figure), allow_nan=False)
    # nan is not itself
    assert repr(figure_from_dict(json.loads(text))) == repr(figure).replace("np.float32(1.0)", "1.0")


def test_unknown_figures_are_refused():
    with pytest.raises(ValueError, match=r"A figure must be one of lines, heatmap, ridges, table. Received: 'pie'"):
        figure_from_dict({"kind": "pie"})


def test_results_survive_a_file(result, tmp_path):
    folder = result.save(tmp_path)
    again = Result.load(folder)
    assert again.profiles == dict(result)
    assert repr(again.checks) == repr(result.checks)
    assert again.key == result.key
    assert repr(again.figures) == repr(result.figures)
    assert again.options == {"width": 32, "depth": 6}
    assert again.seed == 3
    assert folder == result.save(tmp_path), "the same run takes the same place"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"checks": 1}'])
def test_damaged_results_are_refused(result, damage, tmp_path):
    folder = result.save(tmp_path)
    (folder / "result.json").write_bytes(damage)
    with pytest.raises(ValueError, match=r"is no run of an experiment: .* Run it again"):
        Result.load(folder)
    with pytest.raises(FileNotFoundError, match=r"No run in .*: there is no result.json in it"):
        Result.load(tmp_path)


def test_a_profile_that_is_cut_off_is_refused(result, tmp_path):
    folder = result.save(tmp_path)
    profiles = folder / "profiles.jsonl"
    profiles.write_bytes(profiles.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"profiles\.jsonl is cut off"):
        Result.load(folder)


def test_keys_depend_on_the_configuration_alone():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1}) != key_of({"a": 2, "b": [2]})


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"old")
    with pytest.raises(TypeError, match="bytes-like"):
        write_whole(path, "new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_other_seeds_give_other_numbers(result):
    same, other = (lab.run("linear-100", width=32, depth=6, seed=seed, verbose=0) for seed in (3, 4))
    assert dict(same) == dict(result) != dict(other)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("liner-100", {}, ValueError, "No experiment 'liner-100'. Did you mean 'linear-100'\\? There are linear-100"),
        (3, {}, ValueError, "No experiment 3. There are"),
        ("linear-100", {"widht": 3}, TypeError, "has no option 'widht'. Did you mean 'width'\\? It takes width, depth"),
        ("linear-100", {"width": 1}, ValueError, "`width` must be a whole number from 2 to 8192. Received: width=1"),
        ("linear-100", {"width": "64"}, TypeError, "`width` must be a whole number"),
        ("linear-100", {"seed": -1}, ValueError, "`seed` must be a whole number from 0"),
    ],
)
def test_wrong_requests_say_what_is_right(name, options, error, message):
    with pytest.raises(error, match=message):
        lab.run(name, verbose=0, **options)


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"out='.*file' must be a folder that can be written to"):
        lab.run("linear-100", width=8192, depth=1000, out=tmp_path / "file", verbose=0)


def test_an_option_must_say_what_it_may_be():
    def lacks_help(run, width: Annotated[int, Count()] = 3): ...

    def lacks_default(run, width: Annotated[int, Count(), "units"]): ...

    for function in (lacks_help, lacks_default):
        with pytest.raises(TypeError, match="width must be Annotated"):
            options_of(function)


def test_digits_have_mean_0_and_variance_1():
    x, y, test_x, test_y = images("digits", seed=2)
    assert x.shape == (1347, 64)
    assert test_x.shape == (450, 64)
    assert set(y) == set(test_y) == set(range(10))
    assert x.mean() == pytest.approx(0, abs=1e-6)
    assert x.var() == pytest.approx(1, abs=1e-5)
    assert not np.array_equal(x, images("digits", seed=3).x)


def test_images_that_cannot_be_fetched_say_so(tmp_path):
    nowhere = {"https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path)}
    script = f"import os; os.environ.update({nowhere}); from keras_initlab.lab.images import images; images('mnist')"
    done = python("-c", script)
    assert done.returncode == 1
    assert "dataset='mnist' could not be fetched by keras.datasets" in done.stderr
    assert "Use dataset='digits', which needs no network" in done.stderr
