import numpy as np
import pytest
from numpy.testing import assert_allclose

from probscale.encode.projection import center_project
from probscale.errors import ShapeError

EXACT, ALGEBRA = 1e-12, 1e-8


@pytest.fixture
def embeddings():
    random = np.random.default_rng(0)
    return (
        random.normal(size=(40, 4)) @ random.normal(size=(4, 30)) + 5.0 + 0.1 * random.normal(size=(40, 30))
    )


def test_coordinates_equal_those_of_scikit_learn_up_to_scale_and_sign(embeddings):
    from sklearn.decomposition import PCA

    ours = center_project(embeddings, 3)
    theirs = PCA(n_components=3, svd_solver="full").fit_transform(embeddings)
    signs = np.sign(np.sum(ours.apply(embeddings) * theirs, axis=0))
    assert_allclose(ours.apply(embeddings), theirs * signs * ours.scale, atol=ALGEBRA)


def test_coordinates_are_centred_with_unit_root_mean_square_norm(embeddings):
    coordinates = center_project(embeddings, 3).apply(embeddings)
    assert_allclose(coordinates.mean(axis=0), 0.0, atol=EXACT)
    assert_allclose(np.mean(np.sum(coordinates**2, axis=1)), 1.0, rtol=ALGEBRA)


def test_weights_stand_for_repeated_rows(embeddings):
    weights = np.arange(40) % 3 + 1
    weighted = center_project(embeddings, 3, weights=weights)
    repeated = center_project(np.repeat(embeddings, weights, axis=0), 3)
    assert_allclose(weighted.apply(embeddings), repeated.apply(embeddings), atol=ALGEBRA)


def test_signs_do_not_depend_on_the_order_of_rows(embeddings):
    shuffled = np.random.default_rng(1).permutation(embeddings)
    forward, backward = center_project(embeddings, 3), center_project(shuffled, 3)
    assert_allclose(forward.components, backward.components, atol=ALGEBRA)
    assert (forward.components[np.arange(3), np.abs(forward.components).argmax(axis=1)] > 0).all()


def test_fewer_rows_than_the_rank_leave_zero_coordinates(embeddings):
    projection = center_project(embeddings[:3], 6)
    assert projection.span == 2
    assert projection.apply(embeddings).shape == (40, 6)
    assert (projection.apply(embeddings)[:, 2:] == 0).all()


@pytest.mark.parametrize("copies", [1, 2, 7])
def test_identical_rows_all_land_on_the_origin(embeddings, copies):
    projection = center_project(np.repeat(embeddings[:1], copies, axis=0), 4)
    assert projection.span == 0
    assert (projection.apply(embeddings[:1]) == 0).all()
    assert_allclose(projection.novelty(embeddings[:1]), 0.0, atol=ALGEBRA)
    assert projection.novelty(embeddings[1:2])[0] > 0.1


def test_distances_and_novelty_share_out_the_whole_distance_from_the_mean(embeddings):
    projection = center_project(embeddings[:20], 3)
    new = embeddings[20:]
    whole = np.linalg.norm(new - embeddings[:20].mean(axis=0), axis=1) * projection.scale
    parts = np.hypot(np.linalg.norm(projection.apply(new), axis=1), projection.novelty(new))
    assert_allclose(parts, whole, rtol=ALGEBRA)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.full((2, 3), np.nan)])
def test_embeddings_must_be_a_finite_matrix_with_rows(bad):
    with pytest.raises(ShapeError, match="embeddings"):
        center_project(bad, 2)


def test_wrong_ranks_weights_and_widths_are_named(embeddings):
    with pytest.raises(ShapeError, match="rank is 0"):
        center_project(embeddings, 0)
    for weights in (np.ones(3), np.zeros(40), -np.ones(40)):
        with pytest.raises(ShapeError, match="weights"):
            center_project(embeddings, 2, weights=weights)
    with pytest.raises(ShapeError, match=r"takes \(n, 30\)"):
        center_project(embeddings, 2).apply(np.zeros((4, 7)))
