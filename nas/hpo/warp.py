"""Warping of inputs: a monotone map of [0, 1] onto itself for each number, learned with the kernel (Snoek et al. 2014).

A function that changes fast at one end of a range and slowly at the other is stationary after it. The map is the
distribution function of Kumaraswamy (1980), which follows that of the beta distribution and has a closed form.

Notation
    u       (k,) in [0, 1]
    a, b    shapes, positive; 1 and 1 are the identity
    w       (k,) = 1 - (1 - u^a)^b
"""

import numpy as np

ENDS = 1e-9  # as near as u may come to 0 and 1, where the logarithms of the slopes end


def warped(u: np.ndarray, a: float, b: float) -> np.ndarray:
    """Return w (k,)."""
    w: np.ndarray = 1 - (1 - np.clip(u, 0.0, 1.0) ** a) ** b
    return w


def slopes(u: np.ndarray, a: float, b: float) -> np.ndarray:
    """Return the derivatives (2, k) of w by log a and by log b."""
    inner = np.clip(u, ENDS, 1 - ENDS)
    power = inner**a
    rest = np.maximum(1 - power, 1e-300)
    by_a = a * b * rest ** (b - 1) * power * np.log(inner)
    by_b = -b * rest**b * np.log(rest)
    return np.stack([by_a, by_b])
