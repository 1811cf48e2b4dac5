"""The inner loop of the bright–dark and trap models: one exciton from event to event."""

import numpy as np
from numpy.typing import NDArray

from tplm_simulators._jit import jit

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
F64 = NDArray[np.float64]

BRIGHT, DARK, TRAPPED, GONE = 0, 1, 2, 3
STATES = 3
HOP = STATES + 1
"""Events are numbered by the state they lead to; `HOP` leads to the same one, elsewhere."""
PHOTON = HOP + 1
EVENTS = PHOTON + 1


@jit
def follow(
    excitons: int,
    start: F64,
    sigma: float,
    odds: F64,
    near_share: float,
    tally: I64,
    emission: U32,
    rng: np.random.Generator,
) -> int:
    """Follow excitons, each by itself, until they are gone or the time is over.

    In a step at most one thing happens to an exciton. The number of steps without any is a
    geometric variable, drawn at once.

    Parameters
    ----------
    start : (state,)
        Running sum of the shares of excitons that begin in each state.
    sigma : float
        Standard deviation of the first places along each axis.
    odds : (state, event)
        Probability of each event in one step.
    near_share : float
        Share of hops to the four nearest neighbours; the others go to the four diagonal ones.
    tally : (state, moment, step + 1)
        Changed in place: by how many excitons, sum of r² and sum of r⁴ from their own start the
        state gains from one step to the next.
    emission : (y, x, step)
        Photons, changed in place; the place (0, 0) is in the middle.

    Returns
    -------
    int
        Photons that came from outside the grid.
    """
    rows, columns, steps = emission.shape
    total = odds.sum(axis=1)
    scale = 1 / np.log1p(-total)
    outside = 0
    for _ in range(excitons):
        x0 = int(np.rint(sigma * rng.standard_normal())) + columns // 2
        y0 = int(np.rint(sigma * rng.standard_normal())) + rows // 2
        u = rng.random()
        state = BRIGHT if u < start[BRIGHT] else DARK if u < start[DARK] else TRAPPED
        dx, dy, step = 0, 0, 0
        while state != GONE and step < steps:
            quiet = steps
            if total[state] > 0:
                quiet = int(min(np.log1p(-rng.random()) * scale[state], float(steps)))
            after = min(step + quiet + 1, steps)
            r2 = dx * dx + dy * dy
            power = 1
            for moment in range(3):
                tally[state, moment, step] += power
                tally[state, moment, after] -= power
                power *= r2
            step += quiet
            if step >= steps:
                break
            u = rng.random() * total[state]
            event = 0
            while event < PHOTON and u >= odds[state, event]:
                u -= odds[state, event]
                event += 1
            if event == HOP:
                u = rng.random()
                if u < near_share:
                    way = int(4 * u / near_share)
                    sign = 1 - 2 * (way & 1)
                    if way < 2:
                        dx += sign
                    else:
                        dy += sign
                else:
                    way = int(4 * (u - near_share) / (1 - near_share))
                    dx += 1 - 2 * (way & 1)
                    dy += 1 - (way & 2)
            elif event == PHOTON:
                x, y = x0 + dx, y0 + dy
                if 0 <= x < columns and 0 <= y < rows:
                    emission[y, x, step] += np.uint32(1)
                else:
                    outside += 1
                state = GONE
            else:
                state = event
            step += 1
    return outside
