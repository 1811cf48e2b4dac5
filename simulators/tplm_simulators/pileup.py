"""Counts of a detector that is blind for a while after each count."""

import math

import numpy as np
from numpy.typing import NDArray

from tplm_simulators._jit import jit

_MOST_TURNS = 10_000


@jit
def _fire(expected: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for j in range(expected.size):
        x = expected[j]
        # The series is exact to 1e-15 here and several times faster than expm1.
        small = x * (1.0 - x * (0.5 - x * (1.0 / 6.0 - x / 24.0)))
        out[j] = small if x < 1e-3 else -math.expm1(-x)


@jit
def _steady(
    firing: NDArray[np.float64], dead: int, tolerance: float, most_turns: int
) -> tuple[NDArray[np.float64], bool]:
    # Goes round the period in place: what is still left of the last turn, ahead of j, is just
    # what the window of the `dead` points before j reaches back to (negative indices).
    counts = firing.copy()
    if dead == 0:
        return counts, True
    remembered = firing.size - dead
    for _ in range(most_turns):
        window = counts[remembered:].sum()
        change = 0.0
        total = 0.0
        for j in range(firing.size):
            new = firing[j] * (1.0 - window)
            window += new - counts[j - dead]
            total += new
            # Only these points matter to the next turn.
            if j >= remembered:
                change += abs(new - counts[j])
            counts[j] = new
        if change <= tolerance * total:
            return counts, True
    return counts, False


def registered(expected: NDArray[np.float64], dead_points: int) -> NDArray[np.float64]:
    """Compute the counts per pulse on the grid of one period, in the steady state.

    Solves p_j = (1 - exp(-λ_j)) (1 - Σ p_i), the sum over the `dead_points` points before j: a
    count falls on j when light comes there and none of these points has had a count.

    Parameters
    ----------
    expected
        Photons λ_j expected on each point of the period.
    dead_points
        Dead time, in points; it may be longer than the period.

    Returns
    -------
    NDArray
        Probability p_j of a count on each point.
    """
    firing = np.empty_like(expected)
    _fire(expected, firing)
    # Whole periods of dead time only take away a constant, and the recursion is linear.
    periods, dead = divmod(dead_points, expected.size)
    counts, settled = _steady(firing, dead, 1e-11, _MOST_TURNS)
    if not settled:
        raise ArithmeticError(f"no steady state after {_MOST_TURNS} periods")
    result: NDArray[np.float64] = counts / (1.0 + periods * float(counts.sum()))
    return result
