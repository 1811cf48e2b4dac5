"""The scripting interface: an instrument, and scans on it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tplm_config import InstrumentProfile, ScanPlan, load_profile
from tplm_daq.events import Ending, Observer
from tplm_daq.runner import Runner
from tplm_daq.session import begin, go_on, measure, stopping_on_signals
from tplm_daq.store import Scan, ScanWriter, read_scan
from tplm_drivers import Instrument, connect


class Microscope:
    """An open instrument for scripts; made by `open_instrument`."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.instrument.__exit__(kind, error, trace)

    def scan(
        self,
        plan: ScanPlan,
        out: str | Path,
        observers: Iterable[Observer] = (),
        runner: Runner | None = None,
    ) -> Scan:
        """Carry out a plan.

        Parameters
        ----------
        plan : ScanPlan
            Such as ``LineScan(half_range_um=2, positions=41, dwell_s=1, passes=10)``.
        out : str or Path
            The file to write; it must not exist.
        observers : iterable of callable
            Told of every event of `tplm_daq.events`.
        runner : Runner, optional
            Your own, to pause, stop or abort from an observer or another thread.

        Returns
        -------
        Scan
            The finished file; of a run that was stopped, what was measured.

        Raises
        ------
        InputError
            If the plan does not fit the instrument or the file cannot be made.
        DeviceError or OSError
            If a device or the disk failed; what was measured is in the file.
        KeyboardInterrupt
            If Ctrl-C ended it; what was measured is in the file.
        """
        return self._measure(begin(self.instrument, plan, out), observers, runner)

    def resume(
        self,
        path: str | Path,
        observers: Iterable[Observer] = (),
        runner: Runner | None = None,
    ) -> Scan:
        """Go on with a scan that was stopped or killed; as `scan`."""
        return self._measure(go_on(self.instrument, path), observers, runner)

    def _measure(
        self, writer: ScanWriter, observers: Iterable[Observer], runner: Runner | None
    ) -> Scan:
        runner = runner or Runner()
        with writer, stopping_on_signals(runner):
            outcome = measure(runner, self.instrument, writer, observers)
        if outcome.error is not None:
            raise outcome.error
        if outcome.ending is Ending.ABORTED:
            raise KeyboardInterrupt(outcome.message)
        return read_scan(writer.path)


def open_instrument(
    profile: str | Path | InstrumentProfile,
    overrides: Sequence[str] = (),
    *,
    simulated: bool = False,
) -> Microscope:
    """Open every device of a profile.

    Parameters
    ----------
    profile : str, Path or InstrumentProfile
        A bundled name, a TOML file, or the value itself.
    overrides : sequence of str
        ``key=value`` changes to a profile that is read, such as
        ``"simulation.sample.d_cm2_per_s=0.05"``.
    simulated : bool
        Connect the profile's own drivers to simulators of their instruments.

    Returns
    -------
    Microscope
        A context manager that always leaves the laser off.

    Raises
    ------
    InputError
        If the profile is not usable.
    DeviceError
        If a device does not answer.
    """
    if not isinstance(profile, InstrumentProfile):
        profile = load_profile(profile, overrides)
    return Microscope(connect(profile, simulated=simulated))
