"""Figures as Plotly gets them: gaps, axes, dashes, names that stay text, and ridges of known histograms."""

import math

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.drawing import draw
from keras_initlab.lab.drawing.ridgelines import axis_for, ridge_of
from keras_initlab.lab.drawing.style import short_names
from keras_initlab.lab.figures import Heatmap, Line, Lines, Ridges, Table, numbers

from ..processes import python

MARKUP = "<b>a</b> & <script>"
SAFE = "&lt;b&gt;a&lt;/b&gt; &amp; &lt;script&gt;"


def test_what_is_predicted_is_dashed_in_the_colour_of_its_namesake():
    lines = (Line.of("He", [1, 2]), Line.of("He", [1, 3], predicted=True), Line.of("theory", [2, 2], predicted=True))
    traces = {(trace.name, trace.showlegend): trace for trace in draw(Lines("t", "x", "y", lines)).data}
    measured, twin = traces["He", True], traces["He, predicted", False]
    assert measured.line.dash is None
    assert twin.line.dash == "dash"
    assert twin.line.color == measured.line.color
    assert traces["theory, predicted", True].line.dash == "dash"
    assert traces["theory, predicted", True].line.color != measured.line.color
    assert ("predicted", None) in traces, "the legend says what dashes mean"


def test_a_legend_is_drawn_where_there_is_more_than_one_name():
    assert draw(Lines("t", "x", "y", (Line.of("a", [1]),))).layout.showlegend is False
    assert draw(Lines("t", "x", "y", (Line.of("a", [1]), Line.of("b", [1])))).layout.showlegend is True


@pytest.mark.parametrize(("log", "expected"), [(False, (1, None, 0, None, -2)), (True, (1, None, None, None, None))])
def test_what_the_axis_cannot_hold_is_a_gap(log, expected):
    line = Line.of("a", [1, math.nan, 0, math.inf, -2])
    (trace,) = draw(Lines("t", "x", "y", (line,), log_y=log)).data
    assert trace.y == expected
    assert trace.connectgaps is False


def test_more_lines_than_the_palette_has_are_all_of_different_colours():
    drawn = draw(Lines("t", "x", "y", tuple(Line.of(f"line {i}", [i, i]) for i in range(20))))
    assert len({trace.line.color for trace in drawn.data}) == 20


FIGURES = [
    Lines(MARKUP, MARKUP, MARKUP, (Line.of(MARKUP, [1, 2]), Line.of("b", [2, 3]))),
    Heatmap(MARKUP, MARKUP, MARKUP, MARKUP, numbers([1]), numbers([2]), (numbers([3]),), (Line.of(MARKUP, [1]),)),
    Ridges(MARKUP, MARKUP, (MARKUP,), ((numbers([0, 1, 2]), numbers([1, 1, 3])),)),
    Table.of(MARKUP, [MARKUP, "number"], [[MARKUP, 1.0]]),
]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_markup_in_names_stays_text(figure):
    def texts(value):
        if isinstance(value, dict):
            for item in value.values():
                yield from texts(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from texts(item)
        elif isinstance(value, str):
            yield value

    found = list(texts(draw(figure).to_plotly_json()))
    assert sum(SAFE in text for text in found) >= 2
    assert not [text for text in found if "<script" in text]


@pytest.mark.parametrize("log", [False, True])
def test_cells_of_a_heat_map_end_half_way_between_their_centres(log):
    x = numbers([1, 10, 100] if log else [1, 2, 4])
    figure = Heatmap("t", "x", "y", "v", x, numbers([5]), (numbers([1, math.nan, 2]),), log_x=log)
    drawn = draw(figure)
    cells, text = drawn.data
    root = math.sqrt(10)
    expected = [1 / root, root, 10 * root, 100 * root] if log else [0.5, 1.5, 3, 5]
    np.testing.assert_allclose(cells.x, expected)
    np.testing.assert_allclose(cells.y, [4.5, 5.5])
    assert cells.z[0] == (1, None, 2) or list(cells.z[0]) == [1, None, 2]
    assert text.text == ("1", "nan", "2")
    np.testing.assert_allclose(drawn.layout.xaxis.range, np.log10(expected)[[0, -1]] if log else [0.5, 5])


def test_a_ridge_is_the_density_of_its_histogram():
    # Twice as many values in the wider bin, which is four times as wide: half the density.
    histogram = [(0.0, 1.0, 100), (1.0, 5.0, 200)]
    axis = axis_for([histogram])
    assert axis.threshold is None
    ridge = ridge_of(histogram, axis)
    at = np.interp([0.5, 3.0], ridge.places, ridge.heights)
    assert 0.4 < at[1] / at[0] < 0.6
    area = np.sum(ridge.heights) * (ridge.places[1] - ridge.places[0])
    below = np.sum(ridge.heights[ridge.places < 1]) * (ridge.places[1] - ridge.places[0])
    assert below / area == pytest.approx(1 / 3, abs=0.03)


def test_values_of_no_width_stand_beside_the_ridge_with_their_share():
    ridge = ridge_of([(0.0, 0.0, 75), (0.0, 1.0, 25)], axis_for([[(0.0, 1.0, 1)]]))
    assert ridge.masses == ((0.0, 0.75),)
    assert ridge.heights.max() == pytest.approx(0.25)
    alone = ridge_of([(1.0, 1.0, 5)], axis_for([[(1.0, 1.0, 5)]]))
    assert alone.masses == ((1.0, 1.0),)
    assert alone.heights.max() == 0


def test_layers_of_many_octaves_share_an_axis_in_octaves():
    generator = np.random.default_rng(0)
    layers = [generator.standard_normal(1000) * 10.0**-i for i in (0, 4, 8)]
    ridges = Ridges.of("t", profile_of({(f"layer_{i}", "activation"): x for i, x in enumerate(layers)}))
    axis = axis_for(ridges.histograms)
    assert axis.threshold is not None
    peaks = [ridge_of(h, axis) for h in ridges.histograms]
    places = [abs(ridge.places[np.argmax(ridge.heights)]) for ridge in peaks]
    # Four decades apart, in octaves; a bin is half of one wide.
    np.testing.assert_allclose(-np.diff(places), 4 * np.log2(10), atol=1.5)
    assert axis_for(ridges.histograms[:1]).threshold is None, "one layer alone has a linear axis"


def test_what_saturates_is_a_single_value():
    profile = profile_of({("layer", "activation"): np.tanh(np.linspace(-40, 40, 500)).astype("float32")})
    ridge = ridge_of(Ridges.of("t", profile).histograms[0], axis_for(Ridges.of("t", profile).histograms))
    assert [place for place, _ in ridge.masses] == [-1.0, 1.0]
    assert min(share for _, share in ridge.masses) > 0.3


def test_many_layers_are_thinned_and_keep_the_first_and_the_last():
    histogram = (numbers([0, 1, 2]),)
    drawn = draw(Ridges("t", "x", tuple(f"net/layer_{i}" for i in range(100)), (histogram,) * 100))
    names = drawn.layout.yaxis.ticktext
    assert len(names) == 24
    assert (names[0], names[-1]) == ("layer_0", "layer_99")


def test_dead_and_empty_ridges_are_drawn():
    draw(Ridges("t", "x", ("dead",), ((numbers([0, 0, 9]),),)))
    draw(Ridges("t", "x", (), ()))


def test_a_long_title_is_broken_and_takes_its_room():
    short, long = (draw(Lines("word " * n, "x", "y", (Line.of("a", [1]),))).layout for n in (3, 50))
    lines = long.title.text.split("<br>")
    assert len(lines) == 3
    assert max(map(len, lines)) <= 92
    assert long.height - short.height == long.margin.t - short.margin.t == 44


def test_layers_have_whole_numbers():
    assert draw(Lines("t", "layer", "y", (Line.of("a", [1, 2, 3]),))).layout.xaxis.dtick == 1
    assert draw(Lines("t", "layer", "y", (Line.of("a", [1, 2, 3], [1, 1.5, 2]),))).layout.xaxis.dtick is None
    assert draw(Lines("t", "layer", "y", (Line.of("a", range(100)),))).layout.xaxis.dtick is None


def test_common_models_are_left_out_of_names():
    assert short_names(["a/b/x", "a/b/y"]) == ["x", "y"]
    assert short_names(["a/x", "a/x/y"]) == ["x", "x/y"]
    assert short_names(["a/x"]) == ["a/x"]


def test_a_result_draws_its_figures():
    result = lab.run("nine-layers", verbose=False)
    assert [drawn.layout.title.text for drawn in result.draw()] == [figure.title for figure in result.figures]


@pytest.mark.lab
def test_a_notebook_shows_table_and_pictures():
    # A process of its own: the shell is one of a kind, and leaves threads behind.
    script = """
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from keras_initlab import lab

result = lab.run("nine-layers", verbose=False)
InteractiveShell.instance()
with capture_output() as captured:
    InteractiveShell.instance().display_formatter.format(result)
shown = [set(output.data) for output in captured.outputs]
print("text/html" in shown[0], sum("application/vnd.plotly.v1+json" in one for one in shown))
"""
    done = python("-c", script)
    assert done.stdout == "True 2\n", done.stderr
