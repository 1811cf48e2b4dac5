"""Figures of the papers: calculated, compared with what the papers say, and drawn."""

from tplm_daq.studies.reproduce.base import Comparison, Reproduction, Study, draw, page, reproduce
from tplm_daq.studies.reproduce.bright_dark import STUDY as BRIGHT_DARK
from tplm_daq.studies.reproduce.disorder import STUDY as DISORDER
from tplm_daq.studies.reproduce.enaqt import STUDY as ENAQT
from tplm_daq.studies.reproduce.excitation import STUDY as EXCITATION
from tplm_daq.studies.reproduce.memory import STUDY as MEMORY
from tplm_daq.studies.reproduce.traps import STUDY as TRAPS
from tplm_daq.studies.reproduce.validation import STUDY as VALIDATION
from tplm_daq.studies.reproduce.waves import STUDY as WAVES

STUDIES: dict[str, Study] = {
    one.name: one
    for one in (MEMORY, VALIDATION, EXCITATION, BRIGHT_DARK, TRAPS, WAVES, DISORDER, ENAQT)
}
"""By the names that `tplm reproduce` takes."""

__all__ = ["STUDIES", "Comparison", "Reproduction", "Study", "draw", "page", "reproduce"]
