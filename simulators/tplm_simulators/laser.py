"""The pulsed laser."""

from tplm_config.simulation import LaserSettings
from tplm_simulators.device import Bench, Device


class Laser(Device):
    """A pulsed laser with an interlock; its sync output runs whether it emits or not.

    Parameters
    ----------
    name, bench
        As for every device.
    settings
        Its limits.
    """

    def __init__(self, name: str, bench: Bench, settings: LaserSettings) -> None:
        super().__init__(name, bench)
        self._settings = settings
        self._emission = False
        self._rate_hz = settings.start_rate_hz
        self._fraction = 1.0
        self._interlock_closed = True
        self._refuses = False

    @property
    def emission(self) -> bool:
        """Whether light comes out."""
        with self._answering():
            return self._emission

    def set_emission(self, on: bool) -> None:
        """Switch the light on or off; refused while the interlock is open."""
        with self._changing():
            if on and not self._interlock_closed:
                raise self._fault("refuses to emit: the interlock is open")
            if on or not self._refuses:
                self._emission = on

    @property
    def repetition_rate_hz(self) -> float:
        """Pulses per second."""
        with self._answering():
            return self._rate_hz

    @property
    def repetition_rate_limits_hz(self) -> tuple[float, float]:
        """Lowest and highest repetition rate, Hz."""
        return self._settings.min_rate_hz, self._settings.max_rate_hz

    def set_repetition_rate_hz(self, rate_hz: float) -> None:
        """Set the pulses per second; the average power does not follow."""
        with self._changing():
            lowest, highest = self.repetition_rate_limits_hz
            if not lowest <= rate_hz <= highest:
                raise self._fault(
                    f"refuses {rate_hz:g} Hz: allowed are {lowest:g} to {highest:g} Hz"
                )
            self._rate_hz = rate_hz

    @property
    def power_fraction(self) -> float:
        """Power setting, as a share of full scale."""
        with self._answering():
            return self._fraction

    def set_power_fraction(self, fraction: float) -> None:
        """Set the power as a share of full scale, 0 to 1."""
        with self._changing():
            if not 0 <= fraction <= 1:
                raise self._fault(f"refuses power fraction {fraction:g}: allowed are 0 to 1")
            self._fraction = fraction

    @property
    def nominal_power_nw(self) -> float:
        """Average power at full scale, before the attenuator, nW."""
        return self._settings.full_scale_nw

    @property
    def interlock_closed(self) -> bool:
        """Whether the interlock lets the laser emit."""
        with self._answering():
            return self._interlock_closed

    def refuse_to_stop(self) -> None:
        """Break it: once on, the emission stays on whatever is asked (the interlock still acts)."""
        with self._bench.lock:
            self._refuses = True

    def obey(self) -> None:
        """Undo `refuse_to_stop`."""
        with self._bench.lock:
            self._refuses = False

    def open_interlock(self) -> None:
        """Open the interlock: the light goes off at once and stays off."""
        with self._bench.lock:
            self._bench.settle()
            self._interlock_closed = False
            self._emission = False

    def close_interlock(self) -> None:
        """Close the interlock; the emission has to be switched on again."""
        with self._bench.lock:
            self._interlock_closed = True

    def output_nw(self) -> float:
        """Power leaving the laser without its noise, nW (truth)."""
        return self._settings.full_scale_nw * self._fraction if self._emission else 0.0

    def pulse_rate_hz(self) -> float:
        """Rate of the sync pulses, Hz (truth)."""
        return self._rate_hz
