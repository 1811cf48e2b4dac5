"""What a run measures next: the visits of its plan in order, or what is decided on the way."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from tplm_config import Leg, ScanPlan, Visit, legs
from tplm_daq.events import VisitRecord


class Route(Protocol):
    """Gives the legs of a run one by one, in the thread that measures."""

    @property
    def left(self) -> int:
        """How many visits there are still to be, at most."""

    @property
    def reached(self) -> str:
        """Once there is no further leg: why the scan is complete."""

    def next_leg(self, elapsed_s: float) -> Leg | None:
        """What to measure next, given the time since the scan began; None at the end."""

    def take(self, record: VisitRecord) -> None:
        """Take in a visit that is on the disk."""


class PlannedRoute:
    """All visits of a plan that are still to be measured, in its order.

    Parameters
    ----------
    plan : ScanPlan
        The plan.
    todo : sequence of Visit
        What is left of it.
    """

    reached = "all visits measured"

    def __init__(self, plan: ScanPlan, todo: Sequence[Visit]) -> None:
        self._legs = deque(legs(plan, todo))
        self.left = len(todo)

    def next_leg(self, elapsed_s: float) -> Leg | None:
        """The next one in order."""
        return self._legs.popleft() if self._legs else None

    def take(self, record: VisitRecord) -> None:
        """Count it."""
        self.left -= 1


__all__ = ["PlannedRoute", "Route"]
