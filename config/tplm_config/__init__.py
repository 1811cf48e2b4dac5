"""Instrument profiles and scan plans: frozen, typed values that live in TOML files."""

from tplm_config.check import PlanEstimate, check, estimate
from tplm_config.errors import InputError
from tplm_config.leg import Flight, Leg, flight, legs
from tplm_config.plan import (
    Background,
    CardSettings,
    CrossScan,
    Detection,
    Excitation,
    Fly,
    Irf,
    LineScan,
    PositionScan,
    RasterScan,
    Reference,
    ScanPlan,
    Temperature,
)
from tplm_config.profile import InstrumentProfile
from tplm_config.toml import (
    bundled,
    load_plan,
    load_profile,
    parse_plan,
    parse_profile,
    schema,
    to_toml,
)
from tplm_config.visit import Place, Visit, VisitKind

__all__ = [
    "Background",
    "CardSettings",
    "CrossScan",
    "Detection",
    "Excitation",
    "Flight",
    "Fly",
    "InputError",
    "InstrumentProfile",
    "Irf",
    "Leg",
    "LineScan",
    "Place",
    "PlanEstimate",
    "PositionScan",
    "RasterScan",
    "Reference",
    "ScanPlan",
    "Temperature",
    "Visit",
    "VisitKind",
    "bundled",
    "check",
    "estimate",
    "flight",
    "legs",
    "load_plan",
    "load_profile",
    "parse_plan",
    "parse_profile",
    "schema",
    "to_toml",
]
