"""One measurement from beginning to end: plan, instrument, file, run, and a safe way out."""

import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import Protocol

from tplm_config import (
    CardSettings,
    InputError,
    InstrumentProfile,
    ScanPlan,
    check,
    load_profile,
    parse_profile,
    to_toml,
)
from tplm_daq.deciding import DecidedRoute
from tplm_daq.events import Notice, Observer
from tplm_daq.route import PlannedRoute, Route
from tplm_daq.runner import Runner, RunOutcome
from tplm_daq.store import Scan, ScanHeader, ScanWriter, read_scan
from tplm_daq.store.frozen import is_frozen
from tplm_drivers import Instrument

MAX_STREAM_BINS = 2**15
"""Delay times that a T3 record can tell apart."""
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGBREAK")
"""Whatever of these the system has ends a run at once and safely."""


def begin(
    instrument: Instrument, plan: ScanPlan, out: str | Path, source: str | Path = "plan"
) -> ScanWriter:
    """Check a plan against the open instrument and make its file.

    Raises
    ------
    InputError
        If the instrument cannot carry out the plan, or the file cannot be made.
    """
    _check(instrument, plan, source)
    card = plan.card
    header = ScanHeader(
        plan=plan,
        time_bin_ps=card.time_bin_ps,
        bins=card.bins,
        offset_ns=card.offset_ns,
        profile=instrument.profile,
        simulated=instrument.bench is not None,
        identities={role: device.identify() for role, device in instrument.devices().items()},
    )
    return ScanWriter.create(out, header)


def go_on(instrument: Instrument, path: str | Path) -> ScanWriter:
    """Open the file of an unfinished scan, if the instrument can carry out its plan.

    Raises
    ------
    InputError
        If it is not a scan file, another run owns it, or the plan does not fit the instrument.
    """
    scan = read_scan(path)
    _check(instrument, scan.plan, path)
    if scan.header.simulated is not (instrument.bench is not None):
        raise InputError(
            path,
            "the scan began in a simulation"
            if scan.header.simulated
            else "the scan began on the real instrument",
            "add --simulated" if scan.header.simulated else "leave --simulated out",
        )
    if scan.header.profile is not None:
        _check_same(scan.header.profile, instrument.profile, path)
    return ScanWriter.resume(path)


def profile_for(
    scan: Scan, profile: str | None = None, overrides: Sequence[str] = ()
) -> InstrumentProfile:
    """The instrument to go on with: the one kept in the file, unless another is named.

    Raises
    ------
    InputError
        If there is none in the file, or it is not usable.
    """
    kept = scan.header.profile
    if profile is not None:
        found = load_profile(profile, overrides)
    elif scan.header.profile_problem:
        raise InputError(scan.path, f"its profile is not usable ({scan.header.profile_problem})")
    elif kept is None:
        raise InputError(
            scan.path, "the counts were imported, so there is no instrument to go on with"
        )
    else:
        found = parse_profile(to_toml(kept), f"{scan.path} (its profile)", overrides)
    # a simulation must not draw the same photons again
    seed = found.simulation.seed + int(scan.stored.sum())
    simulation = found.simulation.model_copy(update={"seed": seed})
    return found.model_copy(update={"simulation": simulation})


def finish_complete(scan: Scan) -> str | None:
    """See that a file with nothing left to measure has its compact form.

    Returns
    -------
    str or None
        What to tell if it could not be rewritten; it is complete and readable all the same.
    """
    if is_frozen(scan.path):
        with ScanWriter.resume(scan.path) as writer:
            return _finish(writer)
    return None


def _finish(writer: ScanWriter) -> str | None:
    try:
        writer.finish()
    except OSError as error:
        return (
            f"{writer.path} keeps its uncompressed form, complete and readable, because it could "
            f"not be rewritten ({error.strerror or error}); tplm resume tries it again"
        )
    return None


def _check_same(kept: InstrumentProfile, now: InstrumentProfile, path: str | Path) -> None:
    """Refuse to mix two calibrations in one file."""
    for key in ("optics", "laser.wavelength_nm", "detector_stage.x", "detector_stage.y"):
        before, after = attrgetter(key)(kept), attrgetter(key)(now)
        if before != after:
            raise InputError(
                path,
                f"the scan began with {key}: {before}, the profile '{now.name}' has {after}",
                "one file holds one calibration; begin a new scan",
                key,
            )


def _check(instrument: Instrument, plan: ScanPlan, source: str | Path) -> None:
    """Refuse a plan that the instrument cannot carry out."""
    check(plan, instrument.profile, source)
    check_card(instrument, plan.card, source, within="card.")


def check_card(
    instrument: Instrument, card: CardSettings, source: str | Path, within: str = ""
) -> None:
    """Refuse settings that the card of the instrument cannot take.

    Parameters
    ----------
    instrument : Instrument
        Open devices.
    card : CardSettings
        What is asked for.
    source : str or Path
        Where that came from.
    within : str
        What comes before its keys there.

    Raises
    ------
    InputError
        For the first fault.
    """
    allowed = instrument.card.allowed_time_bins_ps()
    if not any(abs(card.time_bin_ps - bin_ps) < 1e-6 * bin_ps for bin_ps in allowed):
        listed = ", ".join(f"{bin_ps:g}" for bin_ps in allowed[:12])
        raise InputError(
            source,
            f"found {card.time_bin_ps:g}",
            f"the card can make {listed}{' …' if len(allowed) > 12 else ''} ps",
            f"{within}time_bin_ps",
        )
    most = MAX_STREAM_BINS if card.mode == "t3" else instrument.card.max_bins()
    if card.bins > most:
        raise InputError(
            source,
            f"{card.range_ns:g} ns in bins of {card.time_bin_ps:g} ps are {card.bins} bins",
            f"the card has at most {most}; use longer bins",
            f"{within}range_ns",
        )


def measure(
    runner: Runner,
    instrument: Instrument,
    writer: ScanWriter,
    observers: Iterable[Observer] = (),
    limit_s: float | None = None,
) -> RunOutcome:
    """Measure what a file still lacks, and finish the file.

    Parameters
    ----------
    runner : Runner
        May already have been told to stop.
    instrument : Instrument
        Open devices; safe afterwards.
    writer : ScanWriter
        The file; stays open, so that the caller decides when to let go.
    observers : iterable of callable
        Told of every event after the file.
    limit_s : float, optional
        The passes end this long after the first visit of this run, for a plan that is decided on
        the way; beside its own goal and time limit.

    Returns
    -------
    RunOutcome
        How it ended; the visits measured are in the file in any case.
    """
    runner.subscribe(writer, essential=True)
    for observer in observers:
        runner.subscribe(observer)
    writer.note({"event": "session", "profile": instrument.profile.name})
    outcome = runner.run(
        instrument,
        writer.plan,
        _route(runner, instrument, writer, limit_s),
        started_s=writer.elapsed_s,
        sample_home_um=writer.sample_home_um,
        scan_path=writer.path,
    )
    if not isinstance(outcome.error, OSError):
        text = _finish(writer)
        if text is not None:
            runner.emit(Notice("warning", "not-packed", text))
    return outcome


def _route(
    runner: Runner, instrument: Instrument, writer: ScanWriter, limit_s: float | None
) -> Route:
    """What is to be measured, as planned or decided on the way."""
    plan, todo = writer.plan, writer.todo
    if not plan.decides:
        return PlannedRoute(plan, todo)
    scan = read_scan(writer.path)
    return DecidedRoute(plan, instrument.profile, scan, todo, runner.emit, limit_s)


class Stoppable(Protocol):
    """A run or a series, as a signal sees it."""

    @property
    def finishing(self) -> bool:
        """Whether the instrument is being made safe, which nothing may interrupt."""

    def abort(self, why: str = ...) -> None:
        """End now; finished visits are kept."""


@contextmanager
def stopping_on_signals(runner: Stoppable) -> Iterator[None]:
    """Let Ctrl-C and the system's requests end a run at once and safely.

    The first signal aborts the run; those that would dump or freeze the program count too, since
    it would leave the light on. A second Ctrl-C is for a device that hangs in a call: it
    interrupts that call, and the laser is still switched off on the way out. Outside the main
    thread, where Python delivers no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        name = signal.Signals(number).name
        runner.abort(f"stopped at once by {'Ctrl-C' if name == 'SIGINT' else name}")
        if len(received) > 1 and number == signal.SIGINT and not runner.finishing:
            raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in STOP_SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
