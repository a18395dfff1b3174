"""The recovered spectrum against a contour integral of the same resolvent, with no atoms and no least squares.

With κ as the variable the resolvent is explicit in the complex plane, so ∫ f dμ = −(1/2πi) ∮ f(z) G(z) dz needs no
root finding. The contour circles the spectrum and the atom at zero.
"""

import numpy as np
import pytest

from probscale import theory


def contour_integrals(a, b, params, dim, time):
    """(∫ e^{−2Tλ} dμ_F with the null space, ∫ λ² e^{−2Tλ} dN) at one time."""
    index = np.arange(1, dim + 1.0)
    s, c = index ** (-2 * a), index ** (-2 * (a + b))
    low, high = 0.0, s.sum() / params
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (s / (s + middle)).sum() > params else (low, middle)
    right, left = 1.5 * high + 0.2 / time, -2.0
    angles = (np.arange(20_000) + 0.5) * 2 * np.pi / 20_000
    total, noise = 0.0, 0.0
    for block in np.array_split(angles, 40):
        turn = np.exp(1j * block)
        kappa = (right + left) / 2 + (right - left) / 2 * turn
        step = (right - left) / 2 * 1j * turn * 2 * np.pi / 20_000
        share = s / (s + kappa[:, None])
        m = 1 - share.sum(axis=1) / params
        slope = (share / (s + kappa[:, None])).sum(axis=1) / params
        z, dz = -kappa * m, -(m + kappa * slope) * step
        target = (c / (s + kappa[:, None])).sum(axis=1) / m
        total += np.sum(np.exp(-2 * time * z) * target * dz)
        noise += np.sum(z * np.exp(-2 * time * z) * share.sum(axis=1) * dz)
    return (-total / 2j / np.pi).real, (-noise / 2j / np.pi).real


@pytest.mark.parametrize("name", theory.PHASES)
def test_recovered_spectrum_agrees_with_contour_integration(name):
    a, b = theory.EXAMPLE_POINTS[name]
    modes = theory.equivalent_modes(a, b, params=150, dim=600)
    for time in (1.0, 5.0, 30.0):
        decay = np.exp(-2 * time * modes.eigenvalues)
        target, noise = contour_integrals(a, b, 150, 600, time)
        assert modes.error @ decay + modes.null == pytest.approx(target, rel=3e-3)
        variance = modes.counts * modes.eigenvalues**2
        # Past the slowest mode the integral is an exponential tail, a millionth of its start, that no curve feels.
        assert variance @ decay == pytest.approx(noise, rel=5e-3, abs=1e-6 * variance.sum())
