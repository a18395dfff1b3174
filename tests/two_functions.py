"""A basis of two functions, a level and a slope, for tests of curves of runs."""

import numpy as np

from probscale.model.basis import Basis

KNOTS = np.linspace(0.0, 1.0, 11)
BASIS = Basis(
    KNOTS,
    np.stack([np.ones(11), 1 - KNOTS]),
    np.array([0.04, 0.01]),
    np.full(11, 1e-4),
    correlated=0.5,
    length=0.1,
)
