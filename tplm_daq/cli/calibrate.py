"""The command that calibrates wheels: calibrate."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from tplm_config import InputError, bundled, load_profile
from tplm_daq.calibration import READINGS, Point, Which, calibrate, write_table
from tplm_daq.cli.options import Number, json_option, profile_options
from tplm_daq.cli.output import answer, stderr
from tplm_drivers import connect

WHEELS: dict[str, Which] = {
    "attenuator": "attenuator",
    "detection-attenuator": "detection_attenuator",
}


@click.command("calibrate")
@click.argument("wheel", type=click.Choice(list(WHEELS)))
@profile_options
@click.option(
    "--out", type=click.Path(path_type=Path), help="CSV table; default: beside the profile."
)
@click.option(
    "--from-deg", type=Number(0, 360), default=0.0, show_default=True, help="First angle."
)
@click.option("--to-deg", type=Number(0, 360), default=270.0, show_default=True, help="Last angle.")
@click.option(
    "--angles", type=click.IntRange(3, 1000), default=28, show_default=True, help="How many."
)
@click.option(
    "--readings", type=click.IntRange(2, 1000), default=READINGS, show_default=True,
    help="At each angle.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a table that is already there.")
@click.option(
    "--beam-blocked", is_flag=True,
    help="There is no shutter, but the beam is blocked before the sample by hand.",
)  # fmt: skip
@json_option
def calibrate_(
    wheel: str,
    profile: str,
    set_profile: tuple[str, ...],
    simulated: bool,
    out: Path | None,
    from_deg: float,
    to_deg: float,
    angles: int,
    readings: int,
    overwrite: bool,
    beam_blocked: bool,
    as_json: bool,
) -> None:
    """Measure the transmission of a neutral-density wheel at its angles.

    The attenuator of the excitation path is measured with the power meter, the detection
    attenuator with the count rate of the card.
    """
    which = WHEELS[wheel]
    found = load_profile(profile, set_profile)
    path = _beside(profile, f"{wheel}.csv") if out is None else out
    if path.exists() and not overwrite:
        raise InputError(path, "exists already", "choose another name, or give --overwrite")
    if not path.parent.is_dir():
        raise InputError(path, "its folder does not exist", "make it first")
    console = stderr()

    def tell(point: Point) -> None:
        console.print(f"{point.position_deg:7.1f}°  {point.signal:.4g} ± {point.error:.1g}")

    with connect(found, simulated=simulated) as instrument:
        measured = calibrate(
            instrument,
            which,
            np.linspace(from_deg, to_deg, angles).tolist(),
            readings=readings,
            beam_blocked=beam_blocked,
            progress=tell,
        )
        write_table(measured, path, instrument, datetime.now().astimezone())
    transmissions = measured.transmissions()
    result: dict[str, Any] = {
        "file": str(path),
        "wheel": wheel,
        "points": len(measured.points),
        "left_out": len(measured.dropped),
        "readings": readings,
        "change": measured.change,
        "unit": measured.unit,
        "brightest": measured.brightest.signal,
        "brightest_deg": measured.brightest.position_deg,
        "lowest_transmission": min(transmissions),
    }
    text = (
        f"{path}: {len(measured.points)} angles, {len(measured.dropped)} left out as noise; "
        f"transmissions down to {min(transmissions):.2g} of {measured.brightest.signal:.4g} "
        f"{measured.unit} at {measured.brightest.position_deg:.1f}°; the light changed by "
        f"{measured.change:+.1%}\n"
        f'in the profile: [{which}.driver] calibration = "{path.as_posix()}"'
    )
    answer(result, text, as_json)


def _beside(profile: str, name: str) -> Path:
    """A file in the profile's folder; in this one if the profile came with the program."""
    return Path(name) if profile in bundled("profile") else Path(profile).with_name(name)
