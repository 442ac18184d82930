"""Student's t distribution with a whole number of degrees of freedom."""

from __future__ import annotations

import math


def above(t: float, freedom: int) -> float:
    """Return the probability of a value above `t`, 0 to 1: Abramowitz and Stegun, 26.7.3 and 4."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2
    term = total = 0.0 if freedom == 1 else cosine if is_odd else 1.0
    for power in range(2 + is_odd, freedom - 1, 2):
        term *= cosine * cosine * (power - 1) / power
        total += term
    within = 2 / math.pi * (angle + sine * total) if is_odd else sine * total
    return max(0.0, (1 - within) / 2)


def quantile(probability: float, freedom: int) -> float:
    """Return the value that a share `probability`, 0.5 to 1, lies below."""
    low, high = 0.0, 1.0
    while above(high, freedom) > 1 - probability:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if above(middle, freedom) > 1 - probability else (low, middle)
    return middle
