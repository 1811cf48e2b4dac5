"""The time between two pulses as a grid, and the light of all earlier pulses on it."""

import numpy as np
from numpy.typing import NDArray

from tplm_simulators._jit import jit
from tplm_simulators.optics import Aperture
from tplm_simulators.response import Response
from tplm_simulators.sample import EmissionMap

_FINE_NS = 30.0
_GROWTH = 0.01
_LAST_NS = 30_000.0


@jit
def _fold(
    photons: NDArray[np.float64],
    first: NDArray[np.int64],
    length: NDArray[np.int64],
    points: int,
) -> NDArray[np.float64]:
    single = np.zeros(points)
    step = np.zeros(points)
    level = 0.0
    for k in range(photons.size):
        begin = first[k] % points
        if length[k] == 1:
            single[begin] += photons[k]
            continue
        density = photons[k] / length[k]
        turns = length[k] // points
        end = begin + length[k] - turns * points
        level += turns * density
        step[begin] += density
        if end < points:
            step[end] -= density
        else:
            level += density
            step[end - points] -= density
    for j in range(points):
        level += step[j]
        single[j] += max(level, 0.0)
    return single


@jit
def _spread(light: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    # One pass per weight, because the inner loop then runs in SIMD.
    points = light.size
    out = np.zeros(points)
    for m in range(weights.size):
        weight = weights[m]
        shift = m % points
        for j in range(shift):
            out[j] += weight * light[j - shift + points]
        for j in range(shift, points):
            out[j] += weight * light[j - shift]
    return out


class PulsePeriod:
    """The grid of one period, with the detection response on it.

    Emission is asked for in single grid points at first and in ever longer intervals later
    (1 % of the time since the pulse), over many periods, and folded back onto one.

    Parameters
    ----------
    repetition_rate_hz
        Pulses per second; the period is rounded to whole grid points.
    grid_ps
        Width of a grid point, ps.
    response
        Response of the detection, with the delay of the light after the sync pulse.
    """

    def __init__(self, repetition_rate_hz: float, grid_ps: float, response: Response) -> None:
        self.grid_ps = grid_ps
        self.points = max(round(1e12 / (repetition_rate_hz * grid_ps)), 1)
        edges = list(range(round(_FINE_NS * 1e3 / grid_ps) + 1))
        while edges[-1] * grid_ps < _LAST_NS * 1e3:
            edges.append(max(edges[-1] + 1, round(edges[-1] * (1 + _GROWTH))))
        self.time_edges_ns = np.array(edges) * (grid_ps * 1e-3)
        self._kernel = response.kernel(grid_ps)
        self._prompt = response.prompt_kernel(grid_ps)
        self._first = np.array(edges[:-1], dtype=np.int64) + self._kernel.first
        bounds = np.array(edges, dtype=np.int64)
        self._length = bounds[1:] - bounds[:-1]

    def light(
        self, emission: EmissionMap, x_um: float, y_um: float, aperture: Aperture
    ) -> NDArray[np.float64]:
        """Photons expected per pulse on each grid point, time counted from the sync pulse."""
        photons = emission.through_aperture(x_um, y_um, aperture)
        folded = _fold(photons, self._first, self._length, self.points)
        light = _spread(folded, self._kernel.weights)
        prompt = emission.prompt_through_aperture(x_um, y_um, aperture)
        if prompt > 0:
            where = (self._prompt.first + np.arange(self._prompt.weights.size)) % self.points
            np.add.at(light, where, prompt * self._prompt.weights)
        return light
