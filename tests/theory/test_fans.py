"""Fans against a slow count of connections."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_initlab.theory import fans


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
