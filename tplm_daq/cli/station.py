"""The command that keeps an instrument between runs: host."""

import click

from tplm_config import InstrumentProfile, load_profile
from tplm_daq.cli.options import (
    Number,
    check_virtual,
    json_option,
    profile_options,
    sample_options,
    sampled,
)
from tplm_daq.cli.output import answer, say
from tplm_daq.session import stopping_on_signals
from tplm_daq.station import Station
from tplm_drivers import DeviceError

LOOK_S = 0.5


class _Ending:
    """A station as a signal sees it."""

    finishing = True
    """A second Ctrl-C raises nothing here: the devices are spoken to in another thread."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def abort(self, why: str = "") -> None:
        """End, in the dark."""
        self._station.end(why)


@click.command()
@profile_options
@sample_options
@click.option("--speed", type=Number(1e-3, 1e6), help="Simulated seconds per second of real time.")
@click.option(
    "--linger-s", type=Number(0, 1e9), help="End when nobody was there and nothing to do so long."
)
@click.option("--lesson", metavar="NAME", help="Draw a lesson; what is wrong is for the trainee.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the lesson.")
@click.option(
    "--connect/--no-connect", "connected", default=False, show_default=True,
    help="Open every device at once.",
)  # fmt: skip
@json_option
def host(
    profile: str,
    set_profile: tuple[str, ...],
    simulated: bool,
    sample: str | None,
    sample_set: tuple[str, ...],
    speed: float | None,
    linger_s: float | None,
    lesson: str | None,
    seed: int,
    connected: bool,
    as_json: bool,
) -> None:
    """Own an instrument for windows and scripts, until it is told to quit; see docs/host.md."""
    found = sampled(load_profile(profile, set_profile), sample, sample_set, simulated=simulated)
    drawn = None
    if lesson is not None:
        check_virtual("--lesson", found, simulated=simulated)
        from tplm_daq.training import draw_lesson  # which most stations do without

        drawn = draw_lesson(lesson, seed)
        found = drawn.apply(found)
    station = Station(
        found if speed is None else _at_speed(found, speed),
        simulated=simulated, connected=connected, linger_s=linger_s, lesson=drawn,
    )  # fmt: skip
    with stopping_on_signals(_Ending(station)), station:
        if station.entry is None:
            raise DeviceError("host", station.problem or "nobody can reach it")
        entry = station.entry
        answer(
            {"pid": entry.pid, "port": entry.port, "profile": found.name},
            f"'{found.name}' is at your service, process {entry.pid}; end it with Ctrl-C",
            as_json,
        )
        while not station.is_ending:
            station.wait(LOOK_S)
    state = station.board.status.safe_state
    say(f"{station.ended_because}; {state or 'nothing was connected'}", err=True)
    if state is not None and not state.verified:
        raise DeviceError("laser", str(state))


def _at_speed(profile: InstrumentProfile, speed: float) -> InstrumentProfile:
    simulation = profile.simulation.model_copy(update={"speed": speed})
    return profile.model_copy(update={"simulation": simulation})
