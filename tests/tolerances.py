"""Four tiers of agreement between two routes to the same number."""

import numpy as np

EXACT = 1e-12
ALGEBRA = 1e-8
OPTIMISER = 1e-4


def monte_carlo(n, std):
    """Five standard errors of a mean of `n` draws."""
    return 5 * np.asarray(std) / np.sqrt(n)
