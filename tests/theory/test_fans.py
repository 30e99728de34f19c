"""Fans against a slow count of connections."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_initlab.theory import WeightAxes, fans, weight_axes


def count_connections(shape, inputs, outputs):
    """Slow reference: how many entries of the weight meet one output unit, and one input unit."""
    entries = list(itertools.product(*(range(size) for size in shape)))
    to_first_output = [entry for entry in entries if all(entry[axis] == 0 for axis in outputs)]
    from_first_input = [entry for entry in entries if all(entry[axis] == 0 for axis in inputs)]
    return len(to_first_output), len(from_first_input)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), (1, 1)),
        ((7,), (7, 7)),
        ((3, 5), (3, 5)),
        ((2, 3, 5), (6, 10)),
        ((2, 2, 3, 5), (12, 20)),
        ((2, 2, 2, 3, 5), (24, 40)),
        ((0, 5), (0, 5)),
    ],
)
def test_undeclared_axes_follow_the_convention_of_keras(shape, expected):
    assert fans(shape) == expected


@st.composite
def declared(draw):
    """A shape without zero-size axes and two lists of axes that share none."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    roles = [draw(st.sampled_from(["input", "output", "field"])) for _ in shape]
    return tuple(shape), *([axis for axis, role in enumerate(roles) if role == want] for want in ("input", "output"))


@settings(max_examples=80, deadline=None)
@given(declared(), st.booleans())
def test_declared_axes_count_connections(case, negative):
    shape, inputs, outputs = case
    named = [[axis - len(shape) * negative for axis in axes] for axes in (inputs, outputs)]
    field = [axis for axis in range(len(shape)) if axis not in inputs + outputs]
    expected_in, expected_out = count_connections(shape, inputs, outputs)
    assert fans(shape, *named) == (expected_in, expected_out)
    # The receptive field is in both counts: without it, only the input or output units are left.
    assert fans([1 if axis in field else size for axis, size in enumerate(shape)], *named) == count_connections(
        [1 if axis in field else size for axis, size in enumerate(shape)], inputs, outputs
    )


def test_the_reference_tells_a_swapped_pair():
    assert count_connections((3, 5), [0], [1]) == (3, 5)
    assert count_connections((3, 5), [1], [0]) == (5, 3)


def test_one_declared_list_leaves_the_rest_to_the_other():
    assert fans((8, 4, 64), input_axes=[2]) == (64, 32)
    assert fans((8, 4, 64), output_axes=[2]) == (32, 64)


def test_declared_axes_may_be_empty():
    assert fans((4,), input_axes=[], output_axes=[0]) == (1, 4)
    assert fans((), input_axes=[]) == (1, 1)


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        (
            (2, 3),
            {"input_axes": [2]},
            r"`input_axes` must name axes from -2 to 1 for shape \(2, 3\).*2 is out of range",
        ),
        ((2, 3), {"output_axes": [-3]}, r"`output_axes` must name axes from -2 to 1.*-3 is out of range"),
        ((), {"input_axes": [0]}, r"`input_axes` must be empty for a scalar"),
        ((2, 3), {"input_axes": [0, -2]}, r"`input_axes` must name each axis once.*Remove the one named twice"),
        ((2, 3), {"input_axes": [0], "output_axes": [-2]}, r"must not share an axis.*which share \[0\]"),
    ],
)
def test_axes_that_do_not_fit(shape, axes, message):
    with pytest.raises(ValueError, match=message):
        fans(shape, **axes)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        # Depthwise: one channel feeds its own outputs only.
        ((3, 3, 64, 2), {"batch_axes": [-2]}, (9, 18)),
        # Einsum "bnd,ndf->bnf": the shared axis stacks whole weights.
        ((4, 16, 32), {"input_axes": [1], "output_axes": [2], "batch_axes": [0]}, (16, 32)),
        ((4, 16, 32), {"input_axes": [1], "batch_axes": [0]}, (16, 32)),
        ((4, 16, 32), {"batch_axes": [0]}, (16, 32)),
        ((16, 32), {"batch_axes": [0, 1]}, (1, 1)),
    ],
)
def test_batch_axes_count_in_neither_fan(shape, axes, expected):
    assert fans(shape, **axes) == expected


def count_of_convolution(kernel, stride, inputs, outputs, groups, transposed, positions=240):
    """Slow reference in one dimension: the connections of a long strided convolution, as a matrix of zeros and ones."""
    matrix = [[0] * positions for _ in range(positions * stride)]
    for narrow in range(positions):
        for tap in range(kernel):
            wide = narrow * stride + tap
            if wide < positions * stride:
                matrix[wide][narrow] += 1
    middle = positions // 2
    wide_rows = [sum(matrix[middle * stride + phase]) for phase in range(stride)]
    per_wide, per_narrow = sum(wide_rows) / stride, sum(row[middle] for row in matrix)
    if transposed:  # narrow inputs, wide outputs
        return per_wide * inputs / groups, per_narrow * outputs / groups
    return per_narrow * inputs / groups, per_wide * outputs / groups


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(4, 2, 1), (3, 1, 2), (4, 4, 2), (3, 2, 1), (5, 3, 4)])
def test_strides_and_groups_count_connections(kernel, stride, groups, transposed):
    inputs, outputs = 8, 12
    shape = (kernel, outputs, inputs // groups) if transposed else (kernel, inputs // groups, outputs)
    axes = {"input_axes": [-1], "output_axes": [-2]} if transposed else {}
    found = fans(shape, **axes, groups=groups, strides=stride, transposed=transposed)
    assert found == pytest.approx(count_of_convolution(kernel, stride, inputs, outputs, groups, transposed))


def test_one_stride_for_each_axis():
    assert fans((4, 4, 256, 64), [-1], [-2], strides=(2, 4), transposed=True) == (16 // 8 * 64, 16 * 256)
    assert fans((3, 3, 8, 8), strides=2) == (72, 18)
    assert fans((3, 3, 8, 7), strides=2) == (72, 15.75)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": 0}, r"`groups` and `strides` must be at least 1. Received: groups=0"),
        ({"strides": (2, 0)}, r"at least 1. Received: groups=1, strides=\(2, 0\)"),
        ({"groups": 5}, r"`groups` must divide the 12 outputs.*groups=5.*holds the filters of all groups"),
        (
            {"batch_axes": [2], "input_axes": [2]},
            r"must not share an axis.*which share \[2\].*by leaving it out of all",
        ),
        ({"batch_axes": [4]}, r"`batch_axes` must name axes from -4 to 3.*4 is out of range"),
    ],
)
def test_what_does_not_fit_the_convolution(changes, message):
    with pytest.raises(ValueError, match=message):
        fans((3, 3, 8, 12), **changes)


def test_every_axis_has_one_part():
    assert weight_axes((2, 3, 4, 5), [1], [-1], [0]) == WeightAxes((1,), (3,), (0,), (2,))
    assert weight_axes((2, 3, 4), batch_axes=(-1,)) == WeightAxes((1,), (), (2,), (0,))
    assert weight_axes(()) == WeightAxes((), (), (), ())
    assert weight_axes((4,)) == WeightAxes((0,), (0,), (), ())
