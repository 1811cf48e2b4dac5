"""The place of the sample: where it belongs during a scan, and moves away from there and back."""

import math
from operator import sub

from tplm_config import ScanPlan, Visit
from tplm_config.profile import SampleStageRole
from tplm_daq.handling import POLL_S, Handling
from tplm_drivers import DeviceError, Instrument

AT_REST = 0.05
"""Share of the tolerance within which a stage at rest reads the same again."""
RESTS = 20
"""So many looks at most until it is; a stage that never is has noise."""


class SamplePlace:
    """Moves the sample stage, and knows whether the sample is where it belongs.

    Parameters
    ----------
    handling : Handling
        Waits for the stage.
    instrument : Instrument
        Open devices.
    home_um : tuple of float or None
        Where the sample belongs; None: where it stands when the run begins.
    """

    def __init__(
        self, handling: Handling, instrument: Instrument, home_um: tuple[float, ...] | None
    ) -> None:
        self._handling = handling
        self._instrument = instrument
        self._stage = instrument.sample_stage
        self._role = instrument.profile.sample_stage
        self._home_um = home_um
        self._is_away = False

    @property
    def home_um(self) -> tuple[float, ...] | None:
        """Where the sample belongs; None without a stage."""
        return self._home_um

    def begin(self, plan: ScanPlan) -> None:
        """See where the sample stands; go to the plan's spot, if it has one."""
        if self._stage is None or self._role is None:
            return
        here = self._stage.position_um()
        spot_um = here if plan.sample_xy_um is None else (*plan.sample_xy_um, *here[2:])
        self._home_um = self._home_um or spot_um
        # a scan that was cut short beside the film must not go on there
        away_um = math.dist(here, self._home_um)
        belongs = plan.irf is not None or plan.sample_xy_um is not None
        self._is_away = belongs and away_um > self._role.tolerance_um
        if plan.sample_xy_um is not None:
            self.bring_home()

    def go_for(self, visit: Visit) -> None:
        """Bring the sample to where a visit needs it."""
        if visit.sample_xy_um is None:
            self.bring_home()
        elif self._home_um is None:
            raise DeviceError("sample_stage", "the plan moves the sample but there is no stage")
        else:
            self._move((*visit.sample_xy_um, *self._home_um[2:]))

    def bring_home(self) -> None:
        """Bring the sample to where it belongs, if it is not there."""
        if self._is_away and self._home_um is not None:
            self._move(self._home_um)

    def go_to(self, x_um: float | None, y_um: float | None) -> None:
        """Go beside the place of the sample; None: the x or y of that."""
        if self._home_um is None:
            raise DeviceError("sample_stage", "there is no sample stage to move")
        x_home_um, y_home_um = self._home_um[:2]
        target_um = (x_home_um if x_um is None else x_um, y_home_um if y_um is None else y_um)
        self._move((*target_um, *self._home_um[2:]))

    def focus_um(self) -> tuple[float, tuple[float, float]]:
        """The z where the sample belongs; the lowest and highest there are.

        Raises
        ------
        DeviceError
            If the stage has no z.
        """
        if self._role is None or self._home_um is None or len(self._home_um) < 3:
            raise DeviceError("sample_stage", "refocusing needs its z and there is none")
        return self._home_um[2], self._role.travel_um

    def go_to_z(self, z_um: float) -> float:
        """Try a focus; gives its read-back."""
        assert self._home_um is not None, "focus_um was asked"
        return self._move((*self._home_um[:2], z_um))[2]

    def keep_z(self, z_um: float) -> None:
        """Go to a focus, where the sample belongs from now on."""
        assert self._home_um is not None, "focus_um was asked"
        self._home_um = (*self._home_um[:2], z_um)
        self._move(self._home_um)

    def bring_back(self) -> str | None:
        """After the run, in the dark: put the sample where the scan found it.

        Returns
        -------
        str or None
            What to tell if it could not be done.
        """
        stage, role, home_um = self._stage, self._role, self._home_um
        if not self._is_away or stage is None or role is None or home_um is None:
            return None
        clock = self._handling.clock
        try:
            stage.move_to(home_um)
            deadline_s = clock.now_s() + role.timeout_s
            while stage.is_moving():
                if clock.now_s() > deadline_s:
                    return f"the sample stage is still moving back after {role.timeout_s:g} s"
                clock.wait(POLL_S)
            _arrived(stage.position_um(), home_um, role, self._handling.afterwards)
        except DeviceError as error:
            return f"the sample was left beside its place ({error})"
        self._is_away = False
        return None

    def _move(self, target_um: tuple[float, ...]) -> tuple[float, ...]:
        self._is_away = True  # until it is known to be at home
        here_um = move_sample(self._handling, self._instrument, target_um)
        self._is_away = target_um != self._home_um
        return here_um


def move_sample(
    handling: Handling, instrument: Instrument, target_um: tuple[float, ...]
) -> tuple[float, ...]:
    """Move the sample stage, open to an abort, until it rests; gives its read-back, the target."""
    stage, role = instrument.sample_stage, instrument.profile.sample_stage
    if stage is None or role is None:
        raise DeviceError("sample_stage", "there is no sample stage to move")
    stage.move_to(target_um)
    handling.wait_until(lambda: not stage.is_moving(), role.timeout_s, "sample_stage", "moving")
    here_um = _arrived(stage.position_um(), target_um, role, handling.afterwards)
    # closed-loop stages call themselves there when they are near, and creep on
    for _ in range(RESTS):
        handling.wait(POLL_S)
        before_um, here_um = here_um, stage.position_um()
        if max(map(abs, map(sub, here_um, before_um))) < AT_REST * role.tolerance_um:
            break
    return _arrived(here_um, target_um, role, handling.afterwards)


def _arrived(
    here_um: tuple[float, ...],
    target_um: tuple[float, ...],
    role: SampleStageRole,
    afterwards: str,
) -> tuple[float, ...]:
    """The read-back of a move, which must be its target.

    Stages that count their steps read back what they were told, so they pass.
    """
    off_um = max(abs(a - b) for a, b in zip(here_um, target_um, strict=True))
    if off_um > role.tolerance_um:
        raise DeviceError(
            "sample_stage",
            f"stopped at {_in_words(here_um)} µm instead of {_in_words(target_um)} µm",
            f"look for an obstacle or a lost reference, then {afterwards}",
        )
    return here_um


def _in_words(place_um: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:.1f}' for value in place_um)})"
