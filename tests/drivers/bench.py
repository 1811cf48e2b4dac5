"""The simulated instrument, and the virtual microscope behind it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tplm_config import load_profile
from tplm_drivers import DeviceError, Instrument, connect
from tplm_simulators import VirtualMicroscope


def microscope_of(instrument: Instrument) -> VirtualMicroscope:
    microscope = instrument.laser.microscope  # type: ignore[attr-defined]
    assert isinstance(microscope, VirtualMicroscope)
    return microscope


@contextmanager
def opened(*overrides: str) -> Iterator[Instrument]:
    """Let go of at the end, whatever was broken meanwhile."""
    instrument = connect(load_profile("simulated", overrides))
    try:
        yield instrument
    finally:
        with suppress(DeviceError):
            instrument.close()


@contextmanager
def lit(*overrides: str) -> Iterator[Instrument]:
    """With light on the sample."""
    with opened(*overrides) as instrument:
        instrument.laser.set_emission(True)
        assert instrument.shutter is not None
        instrument.shutter.set_open(True)
        assert is_lit(instrument)
        yield instrument


def is_lit(instrument: Instrument) -> bool:
    """Whether, in truth, light reaches the sample."""
    microscope = microscope_of(instrument)
    return bool(
        microscope.laser.output_nw() > 0 and microscope.shutter.passes_at(microscope.clock.now_s())
    )


Break = Callable[[VirtualMicroscope], object]
