import numpy as np
import pytest

from probscale import theory
from probscale.errors import ShapeError
from probscale.scaling.phase_inference import phase_from_law, phase_posterior


def test_probabilities_are_the_normal_mass_on_each_side_of_a_boundary():
    rng = np.random.default_rng(0)
    posterior = phase_posterior(rng.normal(1.0, 0.05, 20_000), np.full(20_000, 1.03))
    # P(a < 1.03) with z = 0.6.
    assert posterior.probabilities["III"] == pytest.approx(0.7257, abs=5 * posterior.standard_error["III"])
    assert sum(posterior.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
    assert posterior.most_likely == "III"


def test_samples_without_a_power_law_are_counted_apart():
    posterior = phase_posterior([0.1, -1.0, 1.0, 1.0], [0.1, 2.0, 0.3, 0.3])
    assert posterior.probabilities["none"] == 0.5
    assert posterior.most_likely == "Ia"
    params, loss = posterior.frontier_exponents()
    assert params.shape == loss.shape == (2,)
    assert "none 50.0 %" in str(posterior)


def test_law_exponents_of_phase_ia_invert_to_the_model():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0.55, 1.5, 500), rng.uniform(0.05, 0.45, 500)
    both = 2 * a + 2 * b - 1
    posterior = phase_from_law(both, both / (2 * a))
    assert posterior.a == pytest.approx(a, rel=1e-12)
    assert posterior.b == pytest.approx(b, rel=1e-9)
    assert posterior.probabilities["Ia"] == 1.0
    assert posterior.frontier_exponents()[1][0] == pytest.approx(theory.exponents(a[0], b[0]).loss, rel=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [([1.0], [1.0, 2.0], "one length"), ([], [], "non-empty"), ([1.0, np.nan], [1.0, 1.0], "of a")],
)
def test_unusable_samples_are_refused(a, b, words):
    with pytest.raises(ShapeError, match=words):
        phase_posterior(a, b)


def test_law_exponents_must_be_positive():
    with pytest.raises(ShapeError, match="steps_exponent must be above 0"):
        phase_from_law([0.3], [-0.1])
