import pytest
import torch

from probscale.model.triangle import MOST_APART, Triangle


@pytest.fixture
def covariance():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(120, 130, generator=generator, dtype=torch.float64)
    return root @ root.mT + torch.eye(120, dtype=torch.float64)


def grown(covariance, *sizes):
    """Factor of the leading rows, grown in steps."""
    triangle = Triangle.whole(torch.linalg.cholesky(covariance[: sizes[0], : sizes[0]]))
    for size in sizes[1:]:
        old = len(triangle)
        left = triangle.forward(covariance[:old, old:size]).mT
        triangle = triangle.grown(
            left, torch.linalg.cholesky(covariance[old:size, old:size] - left @ left.mT)
        )
    return triangle


@pytest.mark.parametrize("sizes", [(120,), (100, 101, 120), (20, 50, 90, 119, 120)])
def test_a_grown_factor_is_that_of_everything(covariance, sizes):
    triangle, whole = grown(covariance, *sizes), torch.linalg.cholesky(covariance)
    assert len(triangle) == 120
    assert len(triangle.corner) <= MOST_APART
    right = covariance[:, :7].sin()
    torch.testing.assert_close(triangle.dense(), whole)
    torch.testing.assert_close(triangle.forward(right), torch.linalg.solve(whole, right))
    torch.testing.assert_close(triangle.backward(right), torch.linalg.solve(whole.mT, right))
    torch.testing.assert_close(triangle.solve(right), torch.linalg.solve(covariance, right))
    torch.testing.assert_close(triangle.inverse(), torch.linalg.inv(covariance))
    torch.testing.assert_close(2 * triangle.log_volume(), torch.logdet(covariance))


def test_growing_by_a_few_rows_copies_nothing(covariance):
    triangle = grown(covariance, 100, 104)
    assert triangle.grown(torch.zeros(2, 104).double(), torch.eye(2).double()).lead is triangle.lead
