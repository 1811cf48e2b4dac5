"""Slow noise as a function of time, so that it does not depend on who looks when."""

import numpy as np


class SlowNoise:
    """A sum of sines with random phases: smooth, of mean zero, known at any time.

    Parameters
    ----------
    rms
        Root mean square of the noise.
    rng
        Gives the phases, once.
    fastest_s, slowest_s
        Shortest and longest period, s; `modes` periods lie between, evenly in logarithm.
    """

    def __init__(
        self,
        rms: float,
        rng: np.random.Generator,
        fastest_s: float = 2.0,
        slowest_s: float = 3600.0,
        modes: int = 16,
    ) -> None:
        # Uneven spacing keeps the periods incommensurate.
        share = (np.arange(modes) + rng.uniform(size=modes)) / modes
        self._omega = 2 * np.pi / (fastest_s * (slowest_s / fastest_s) ** share)
        self._phase = rng.uniform(0, 2 * np.pi, modes)
        self._amplitude = rms * np.sqrt(2 / modes)

    def mean(self, from_s: float, to_s: float) -> float:
        """Mean of the noise from `from_s` to `to_s`, exact; its value when they coincide."""
        half_s = 0.5 * (to_s - from_s)
        middle_s = 0.5 * (to_s + from_s)
        waves = np.sin(self._omega * middle_s + self._phase)
        return float(self._amplitude * np.sum(waves * np.sinc(self._omega * half_s / np.pi)))
