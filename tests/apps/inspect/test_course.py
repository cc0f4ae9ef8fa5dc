"""Size law, convolution, gradients: laws and independent implementations beside the checklist."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.inspect.convolution import convolve, correlate, kernel_of, rot180
from cnnapps.apps.inspect.geometry import EXERCISE, compared, complexity, draw, geometry, meets
from cnnapps.apps.inspect.gradients import max_pool, mean_pool, worked_example
from cnnapps.core.errors import InputError

SIDES = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), SIDES, st.integers(1, 5), st.integers(0, 8), st.integers(1, 4))
def test_sizes_are_torch_s(m: int, k: int, s: int, p: int, d: int) -> None:
    x = torch.zeros(1, 1, m)
    weight = torch.zeros(1, 1, k)
    try:
        want = torch.nn.functional.conv1d(x, weight, stride=s, padding=p, dilation=d).shape[2]
    except RuntimeError:
        with pytest.raises(InputError, match="the output is empty"):
            geometry(m, k, stride=s, padding=p, dilation=d)
        return
    g = geometry(m, k, stride=s, padding=p, dilation=d)
    assert g.output == want
    assert (g.exact == g.output) == (g.unread == 0)
    # each output meets the inputs that a kernel of ones picks out
    eye = torch.eye(m)[:, None]
    ones = torch.nn.functional.conv1d(eye, torch.ones(1, 1, k), stride=s, padding=p, dilation=d)
    for o in {0, g.output // 2, g.output - 1}:
        inside = [i for i in meets(g, o) if 0 <= i < m]
        assert inside == torch.nonzero(ones[:, 0, o]).flatten().tolist()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3)
)
def test_transposed_sizes_are_torch_s(m: int, k: int, s: int, p: int, d: int) -> None:
    eye = torch.eye(m)[:, None]
    ones = torch.ones(1, 1, k)
    try:
        y = torch.nn.functional.conv_transpose1d(eye, ones, stride=s, padding=p, dilation=d)
    except RuntimeError:
        y = torch.zeros(m, 1, 0)
    if y.shape[2] == 0:
        with pytest.raises(InputError, match="the output is empty"):
            geometry(m, k, stride=s, padding=p, dilation=d, transposed=True)
        return
    g = geometry(m, k, stride=s, padding=p, dilation=d, transposed=True)
    assert g.output == y.shape[2]
    for o in {0, g.output // 2, g.output - 1}:
        assert sorted(meets(g, o)) == torch.nonzero(y[:, 0, o]).flatten().tolist()


def test_words_of_the_size_law() -> None:
    text = str(geometry(224, 11, stride=4))
    assert (
        "does not divide: 54.25, the framework floors to 54; the last 1 of 224 is not read" in text
    )
    assert "divides with M = 223 or 227" in text
    assert "narrow: no padding" in str(geometry(5, 3))
    assert "wide: P = K - 1" in str(geometry(5, 3, padding=2))
    assert "same: P = (K - 1)/2" in str(geometry(5, 3, padding=1))
    assert "none of narrow" in str(geometry(5, 3, stride=2))
    for bad in ((5, 9, {}), (0, 3, {}), (5, 0, {}), (5, 3, {"stride": 0}), (5, 3, {"padding": -1})):
        with pytest.raises(InputError):
            geometry(bad[0], bad[1], **bad[2])


def test_the_picture_shows_the_lines_of_the_first_output() -> None:
    svg = draw(geometry(7, 3, padding=1, stride=2)).svg()
    assert svg.startswith("<svg")
    assert svg.count("<polyline") == 3 * 3
    pixels = draw(geometry(224, 11, stride=4)).pixels()
    assert pixels.dtype == np.uint8
    assert (pixels != 255).any()


def test_the_exercise_says_what_it_means() -> None:
    a, b = map(complexity, EXERCISE)
    assert compared(a, b) == (
        "The second takes 3.60x fewer multiplications but 1.07x more space: its weights shrink "
        "from 589,824 to 163,840, its outputs grow from 2,560,000 to 3,200,000."
    )


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES, st.integers(1, 3), st.integers(0, 2), st.integers(0, 1 << 30))
def test_correlation_is_torch_s_and_convolution_numpy_s(
    u: int, v: int, s: int, p: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(11, 9)), rng.normal(size=(u, v))
    want = torch.nn.functional.conv2d(
        torch.tensor(x[None, None]), torch.tensor(w[None, None]), stride=s, padding=p
    )
    np.testing.assert_allclose(correlate(x, w, stride=s, padding=p), want[0, 0].numpy(), atol=1e-12)
    np.testing.assert_allclose(convolve(x, w), correlate(x, rot180(w)))
    np.testing.assert_allclose(convolve(x[0], w[0]), np.convolve(x[0], w[0], "valid"), atol=1e-12)


def test_kernels_by_name_and_typed() -> None:
    np.testing.assert_array_equal(kernel_of("1 0; 0,-1/4", dims=2), [[1, 0], [0, -0.25]])
    np.testing.assert_array_equal(kernel_of("echo", dims=1, delay=2), [1, 0, 0.5, 0, 0.25])
    assert kernel_of("gaussian", dims=2).sum() == 1
    for text, dims, reason in (
        ("1 0 0; 0 0", 2, "isn't a rectangle: rows of 3, 2 numbers"),
        ("1 2;; 3 4", 2, "empty row"),
        ("", 2, "empty row"),
        ("1 x", 2, "'x' is no number"),
        ("1e999", 1, "no finite number"),
        ("1/0 2", 2, "is no number"),
        ("blur", 2, "there are identity, gaussian"),
        ("echo", 2, "no kernel for pictures"),
        ("1 2; 3 4", 1, "a signal takes one row"),
        (" ".join(["1"] * 300), 2, "at most 255"),
    ):
        with pytest.raises(InputError) as error:
            kernel_of(text, dims=dims)
        assert reason in str(error.value), text


def test_pooling_forward_and_the_worked_example() -> None:
    x = np.arange(24.0).reshape(4, 6)
    t = torch.tensor(x[None, None])
    np.testing.assert_allclose(mean_pool(x, 2), torch.nn.functional.avg_pool2d(t, 2)[0, 0].numpy())
    np.testing.assert_allclose(max_pool(x, 2), torch.nn.functional.max_pool2d(t, 2)[0, 0].numpy())
    with pytest.raises(ValueError, match="don't fill"):
        mean_pool(x, 5)
    text = worked_example()
    assert "= (-19)" in text
    assert "at the rate -19.0000" in text
    assert max(map(len, text.splitlines())) <= 110
