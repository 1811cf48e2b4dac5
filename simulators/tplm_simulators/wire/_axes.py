"""The axes of a virtual stage, commanded one by one as motion controllers do it."""

from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.stage import DetectorStage, SampleStage

STALL_S = 0.5
"""An axis that should move and stands still for so long, device time, is taken as stalled."""


class Axes:
    """The stage of a role, axis by axis.

    Every method raises `VirtualFault` when the stage is unplugged.

    Parameters
    ----------
    microscope
        Whose stage.
    role
        ``detector_stage`` or ``sample_stage``.

    Attributes
    ----------
    fastest_um_per_s : float
        Speed of a move, unless another one is set.
    """

    def __init__(self, microscope: VirtualMicroscope, role: str) -> None:
        self._stage: DetectorStage | SampleStage = (
            microscope.detector_stage if role == "detector_stage" else microscope.sample_stage
        )
        settings = microscope.settings
        self.fastest_um_per_s = (
            settings.detector_stage if role == "detector_stage" else settings.sample_stage
        ).speed_um_per_s
        self._clock = microscope.clock
        self._targets_um = list(self._stage.position_um())
        self._seen_um = list(self._targets_um)
        self._seen_s = [self._clock.now_s()] * len(self._targets_um)

    @property
    def limits_um(self) -> tuple[float, float]:
        """Lower and upper end of the travel, µm."""
        return self._stage.limits_um

    def position_um(self, axis: int) -> float:
        """Where an axis is, as its counter has it."""
        return self._stage.position_um()[axis]

    def target_um(self, axis: int) -> float:
        """Where an axis was sent."""
        return self._targets_um[axis]

    def move(self, targets_um: dict[int, float]) -> None:
        """Start axes moving; the others go on with what they do."""
        for axis, target_um in targets_um.items():
            self._targets_um[axis] = target_um
            self._seen_s[axis] = self._clock.now_s()
        self._stage.move_to(*self._targets_um)

    def set_speed(self, axis: int, speed_um_per_s: float | None) -> None:
        """Speed of the moves of one axis that follow; None is the fastest."""
        self._stage.set_axis_speed_um_per_s(axis, speed_um_per_s)

    def stop(self, *axes: int) -> None:
        """Stop axes, or all of them; the others go on."""
        self._stage.stop()
        for axis in axes or range(len(self._targets_um)):
            self._targets_um[axis] = self.position_um(axis)
        if any(self._targets_um[n] != self.position_um(n) for n in range(len(self._targets_um))):
            self._stage.move_to(*self._targets_um)

    def is_moving(self, axis: int) -> bool:
        """Whether an axis has not reached its target; a stalled one never does."""
        return self._stage.is_moving() and self.position_um(axis) != self._targets_um[axis]

    def is_stalled(self, axis: int) -> bool:
        """Whether an axis should move and has not done so for some time."""
        now_s, place_um = self._clock.now_s(), self.position_um(axis)
        if not self.is_moving(axis) or place_um != self._seen_um[axis]:
            self._seen_um[axis], self._seen_s[axis] = place_um, now_s
        return now_s - self._seen_s[axis] > STALL_S
