"""Covariances: symmetric, positive semi-definite, and meaning what their docstrings say."""

import numpy as np
import pytest
import torch

from probscale.model.kernels import CurveKernel
from probscale.model.layout import LabelBlock, Layout
from probscale.model.levels import MemberTerm
from probscale.model.matern import matern52
from probscale.model.shift import SizeShift
from probscale.model.terms import AnovaTerm, LabelCorrelation, RunTerm
from tolerances import ALGEBRA, EXACT


@pytest.fixture
def kernel(layout, scramble):
    return scramble(CurveKernel(layout, scale=0.3), seed=4)


@pytest.fixture
def repeated(layout, rows_of):
    """Forty rows, the last ten of which repeat the first."""
    rows = rows_of(layout, 30, seed=5)
    return torch.cat([rows.x, rows.x[:10]])


def dense(kernel, *x):
    with torch.no_grad():
        return kernel(*x).numpy()


def test_covariance_is_symmetric_and_positive_semidefinite(kernel, repeated):
    matrix = dense(kernel, repeated)
    np.testing.assert_allclose(matrix, matrix.T, atol=EXACT)
    assert np.linalg.eigvalsh(matrix).min() > -ALGEBRA * matrix.max()


def test_every_term_is_positive_semidefinite_by_itself(kernel, repeated):
    for term in kernel.terms:
        matrix = dense(term, repeated)
        assert np.linalg.eigvalsh(matrix).min() > -ALGEBRA * matrix.max(), type(term).__name__


def test_the_diagonal_is_that_of_the_matrix(kernel, repeated):
    with torch.no_grad():
        diagonal = kernel(repeated, diag=True).numpy()
    np.testing.assert_allclose(diagonal, np.diag(dense(kernel, repeated)), rtol=1e-6)
    for term in kernel.terms:
        with torch.no_grad():
            own = term(repeated, diag=True).numpy()
        np.testing.assert_allclose(own, np.diag(dense(term, repeated)), rtol=1e-6)


def test_equal_rows_have_equal_covariances(kernel, repeated):
    matrix = dense(kernel, repeated)
    np.testing.assert_allclose(matrix[:10], matrix[30:], rtol=1e-6)


def test_blocks_are_those_of_the_whole_matrix(kernel, repeated):
    whole = dense(kernel, repeated)
    np.testing.assert_allclose(dense(kernel, repeated[:7], repeated[5:]), whole[:7, 5:], rtol=ALGEBRA)


def test_matern_is_the_textbook_formula():
    r = np.array([0.1, 0.7, 2.0, 5.0])
    expected = (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)
    np.testing.assert_allclose(matern52(torch.from_numpy(r**2)).numpy(), expected, rtol=EXACT)


def test_without_text_labels_correlate_only_with_themselves():
    correlation = LabelCorrelation(LabelBlock("task", 0))
    x = torch.tensor([[1.0], [1.0], [7.0]], dtype=torch.float64)
    np.testing.assert_array_equal(dense(correlation, x), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def test_an_unseen_label_resembles_the_labels_with_similar_text():
    correlation = LabelCorrelation(LabelBlock("task", 0, (1,)))
    seen = torch.tensor([[1.0, -1.0], [2.0, 1.0]], dtype=torch.float64)
    unseen = torch.tensor([[9.0, 0.8]], dtype=torch.float64)
    expected = 0.5 * np.exp(-0.5 * np.array([[1.8**2, 0.2**2]]) / 0.6**2)
    np.testing.assert_allclose(dense(correlation, unseen, seen), expected, rtol=ALGEBRA)
    np.testing.assert_allclose(dense(correlation, unseen), [[1.0]], rtol=EXACT)


def weighed(kernel, x1, x2):
    """A covariance, and the gradient of its weighted sum with respect to the parameters."""
    kernel.zero_grad()
    covariance = kernel(x1, x2)
    weight = torch.sin(torch.arange(covariance.numel(), dtype=torch.float64)).reshape(covariance.shape)
    (weight * covariance).sum().backward()
    return covariance.detach(), [p.grad.clone() for p in kernel.parameters() if p.grad is not None]


@pytest.mark.parametrize("others", [slice(None), slice(40, 90)])
def test_axis_values_that_runs_share_give_the_covariance_of_values_of_their_own(
    curves_layout, rows_of, scramble, others
):
    kernel = scramble(CurveKernel(curves_layout, scale=0.3), seed=6)
    shared = rows_of(curves_layout, 90, seed=7).x
    shared[:, 2] = torch.linspace(-1, 1, 6, dtype=torch.float64).repeat(15)
    own = shared.clone()
    own[:, 2] += 1e-11 * torch.arange(90)
    found, slopes = weighed(kernel, shared, shared[others])
    expected, plain = weighed(kernel, own, own[others])
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    for slope, other in zip(slopes, plain, strict=True):
        np.testing.assert_allclose(slope, other, rtol=1e-6, atol=1e-8)


def test_runs_share_nothing_but_themselves(curves_layout, rows_of, scramble):
    x = rows_of(curves_layout, 20, seed=6).x
    matrix = dense(scramble(RunTerm(curves_layout, scale=0.2)), x)
    same = (x[:, 7, None] == x[None, :, 7]).numpy()
    assert (matrix[same] > 0).all()
    assert (matrix[~same] == 0).all()


def test_what_was_not_given_sets_runs_apart_by_what_it_would_have_told():
    layout = Layout(("lr", "lr missing", "decay", "decay missing", "step"), axis=(4,), run=5, untold=(1, 3))
    term = RunTerm(layout, scale=0.1)
    with torch.no_grad():
        term.get_parameter("hidden").copy_(torch.log(torch.tensor([0.3, 0.4])))
    x = torch.zeros(5, 6, dtype=torch.float64)
    x[:, 5] = torch.tensor([0.0, 1.0, 2.0, 3.0, 3.0])
    x[[1, 3, 4], 1] = 2.0
    x[2:, 3] = 2.0
    x[4, 4] = 1.0
    matrix = dense(term, x)
    own = matrix[0, 0]
    np.testing.assert_allclose(np.diag(matrix) - own, [0.0, 0.09, 0.16, 0.25, 0.25], atol=ALGEBRA)
    np.testing.assert_allclose(term(x, diag=True).detach().numpy(), np.diag(matrix), rtol=ALGEBRA)
    assert 0.25 < matrix[3, 4] < 0.25 + own
    assert (matrix[:3, 3:] == 0).all()


def test_runs_that_came_without_a_value_stray_along_lines_of_their_own():
    layout = Layout(("lr", "step"), axis=(1,), run=2)
    term = RunTerm(layout, scale=0.1)
    x = torch.zeros(6, 3, dtype=torch.float64)
    x[:, 2] = torch.tensor([1.0, 1.0, 4.0, 4.0, 5.0, 5.0])
    x[:, 1] = torch.tensor([-1.0, 0.5, -1.0, 0.5, -1.0, 0.5])
    plain = dense(term, x)
    term.strays = torch.tensor([[4.0, 0.2, 0.1, 0.3], [9.0, 1.0, 0.0, 1.0]], dtype=torch.float64)
    line = np.array([[1.0, -1.0], [1.0, 0.5]])
    expected = np.zeros((6, 6))
    expected[2:4, 2:4] = line @ np.array([[0.2, 0.1], [0.1, 0.3]]) @ line.T
    np.testing.assert_allclose(dense(term, x) - plain, expected, atol=ALGEBRA)
    np.testing.assert_allclose(term(x, diag=True).detach().numpy(), np.diag(dense(term, x)), rtol=ALGEBRA)
    np.testing.assert_allclose(term(x[:3], x[3:]).detach().numpy(), dense(term, x)[:3, 3:], atol=ALGEBRA)


def test_a_run_term_needs_a_run_column():
    with pytest.raises(ValueError, match="run column"):
        RunTerm(Layout(("N",)), scale=0.1)


def test_coordinates_shift_in_proportion_to_the_sizes(curves_layout, rows_of):
    shift = SizeShift(curves_layout)
    x = rows_of(curves_layout, 6).x
    np.testing.assert_array_equal(shift(x).detach().numpy(), x[:, :3].numpy())
    with torch.no_grad():
        shift.slope.copy_(torch.tensor([[0.5], [-0.2]], dtype=torch.float64))
    moved, z = shift(x).detach().numpy(), x.numpy()
    np.testing.assert_allclose(moved[:, 1], z[:, 1] + 0.5 * z[:, 0] - 0.2 * z[:, 2], rtol=EXACT)
    np.testing.assert_array_equal(moved[:, [0, 2]], z[:, [0, 2]])


def test_without_sizes_nothing_shifts():
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(SizeShift(Layout(("lr", "wd")))(x).detach().numpy(), x.numpy())


def test_gradients_stay_finite_on_coinciding_rows(kernel, repeated):
    kernel(repeated).sum().backward()
    found = {name: each.grad for name, each in kernel.named_parameters() if each.grad is not None}
    assert found
    for name, gradient in found.items():
        assert torch.isfinite(gradient).all(), name


def test_deviations_of_few_runs_wane_along_the_axis_within_its_reach():
    layout = Layout(("width", "step"), axis=(1,), run=2, wanes=1.0)
    kernel = CurveKernel(layout, scale=0.3)
    x = torch.tensor([[0.0, at, 0.0] for at in (-9.0, -2.0, 0.0, 1.0, 2.0, 9.0)], dtype=torch.float64)
    shared = [term for term in kernel.terms if type(term).__name__ == "AxisTerm"]
    with torch.no_grad():
        common = sum(float(term(x, x, diag=True)[0]) for term in shared)
        kernel.waning.get_parameter("wane").fill_(0.0)
        flat = kernel(x, diag=True).numpy() - common
        kernel.waning.get_parameter("wane").fill_(-0.5)
        kernel.waning.get_parameter("bend").fill_(0.25)
        factor = (kernel(x, diag=True).numpy() - common) / flat
    np.testing.assert_allclose(np.log(factor) / 2, [0.25, 0.25, 0.25, -0.125, -0.75, -0.75], rtol=ALGEBRA)
    np.testing.assert_allclose(np.diag(dense(kernel, x)), factor * flat + common, rtol=ALGEBRA)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_less_waning_is_believed_the_nearer_its_prior_is_to_nothing(share):
    kernel = CurveKernel(Layout(("width", "step"), axis=(1,), run=2, wanes=share), scale=0.3)
    (wane, bend), start = (kernel.waning.get_submodule(f"{name}_prior") for name in ("wane", "bend")), -0.5
    np.testing.assert_allclose([wane.loc.item(), bend.loc.item()], [share * start, 0.0], rtol=ALGEBRA)
    np.testing.assert_allclose([wane.scale.item(), bend.scale.item()], share * 0.15, rtol=ALGEBRA)
    np.testing.assert_allclose(kernel.waning.get_parameter("wane").item(), share * start, rtol=ALGEBRA)


def test_deviations_of_scores_grow_up_to_a_plateau_and_what_all_share_does_not():
    layout = Layout(("pairs",), axis=(0,), run=1, growth=True)
    kernel = CurveKernel(layout, scale=0.3)
    with torch.no_grad():
        kernel.get_parameter("growth").fill_(1.0)
        kernel.get_parameter("plateau").fill_(0.5)
    x = torch.tensor([[-2.5, 0.0], [-1.5, 0.0], [0.5, 0.0], [2.0, 0.0], [2.5, 0.0]], dtype=torch.float64)
    shared = [term for term in kernel.terms if type(term).__name__ == "AxisTerm"]
    with torch.no_grad():
        common = sum(float(term(x, x, diag=True)[0]) for term in shared)
        variance = kernel(x, diag=True).numpy() - common
    np.testing.assert_allclose(np.log(variance[1] / variance[0]), 2.0, rtol=1e-4)
    np.testing.assert_allclose(np.log(variance[4] / variance[2]), 2 * np.log(2) / 5, rtol=1e-4)
    np.testing.assert_allclose(variance[4], variance[3], rtol=1e-3)
    np.testing.assert_allclose(np.diag(dense(kernel, x)), variance + common, rtol=ALGEBRA)


@pytest.mark.parametrize("trends", [(0.2, 0.7), (0.0, 0.0)], ids=["over a grid", "scattered"])
def test_effects_of_a_few_coordinates_are_a_product_of_smooth_parts_and_over_a_grid_trends(trends):
    levels = (LabelBlock("width", 3, level=True), LabelBlock("depth", 4, level=True)) if any(trends) else ()
    layout = Layout(("width", "depth", "step"), axis=(2,), labels=levels)
    assert layout.has_few_coordinates
    term = AnovaTerm(layout, SizeShift(layout), scale=0.5)
    weight, widths, along = (0.6, 1.4), (1.5, 2.5), 0.8
    chosen = {"weight": weight, "width": widths, "axis_width": (along,)} | (
        {"trend": trends} if levels else {}
    )
    with torch.no_grad():
        for name, values in chosen.items():
            term.get_parameter(name).copy_(torch.tensor(values, dtype=torch.float64).log())
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 3)))
    z, expected = x.numpy(), 0.25 * np.ones((6, 6))
    for j, (a, width, trend) in enumerate(zip(weight, widths, trends, strict=True)):
        smooth = matern52(torch.from_numpy(((z[:, j, None] - z[None, :, j]) / width) ** 2)).numpy()
        part = smooth + trend**2 * np.outer(z[:, j], z[:, j])
        expected = expected * (1 + a**2 * part) / (1 + a**2)
    expected = expected * matern52(torch.from_numpy(((z[:, 2, None] - z[None, :, 2]) / along) ** 2)).numpy()
    np.testing.assert_allclose(dense(term, x), expected, rtol=1e-9)
    with torch.no_grad():
        np.testing.assert_allclose(term(x, diag=True).numpy(), expected.diagonal(), rtol=1e-9)


def test_values_found_in_rows_once_are_looked_for_again_when_the_rows_change(layout, rows_of):
    kernel, x = CurveKernel(layout), rows_of(layout, 40, seed=3).x
    if layout.axis:
        x[:, layout.axis[0]] = x[:, layout.axis[0]].sign()  # few places, shared by many rows
    kernel(x)
    x[:20] = x[20:].clone()
    np.testing.assert_allclose(kernel(x).detach(), kernel(x.clone()).detach(), rtol=EXACT)


def test_a_value_brings_the_same_in_either_of_two_levels(pairs_layout, rows_of, scramble):
    term = scramble(MemberTerm(pairs_layout, pairs_layout.sharing[0], scale=0.3))
    x = rows_of(pairs_layout, 20, seed=6).x
    members = np.zeros((20, 3))
    for column in (1, 2):
        members[np.arange(20), x[:, column].numpy().astype(int)] += 1
    names = ("scale", "drift", "width")
    scale, drift, width = (np.exp(term.get_parameter(name).detach().numpy()) for name in names)
    apart = (x[:, None, 0] - x[None, :, 0]) / torch.from_numpy(width)
    expected = (scale**2 + drift**2 * matern52(apart**2).numpy()) * (members @ members.T) / 2
    np.testing.assert_allclose(dense(term, x), expected, rtol=ALGEBRA)
