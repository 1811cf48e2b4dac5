"""When a scan has told enough: the precision of D asked for, written as a person would."""

import re
from dataclasses import dataclass

_GOAL = re.compile(
    r"\s*(?P<number>\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*(?P<unit>%|cm2/s|cm²/s)\s+on\s+D\s*"
)


@dataclass(frozen=True, slots=True)
class Goal:
    """A standard error of D that is good enough.

    Attributes
    ----------
    value : float
        Share of D, or cm²/s.
    is_relative : bool
        Which of the two.
    """

    value: float
    is_relative: bool

    def stderr_cm2_per_s(self, d_cm2_per_s: float) -> float:
        """The standard error that is asked for if D is this large."""
        return self.value * abs(d_cm2_per_s) if self.is_relative else self.value

    def __str__(self) -> str:
        return f"{self.value * 100:g} % on D" if self.is_relative else f"{self.value:g} cm²/s on D"


def parse_goal(text: str) -> Goal:
    """Read ``5 % on D`` or ``0.001 cm2/s on D``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    found = _GOAL.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is no goal; write such as "5 % on D" or "0.001 cm2/s on D"')
    is_relative = found["unit"] == "%"
    value = float(found["number"]) / (100 if is_relative else 1)
    if not 0 < value < (1 if is_relative else 1e3):
        raise ValueError(f'"{text}": the error must be above 0 and below 100 % (1000 cm²/s)')
    return Goal(value, is_relative)
