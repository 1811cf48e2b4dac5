"""A view on a real station, over a real link; for tests that want to see the light go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tplm_config import load_profile
from tplm_daq.station import Station
from tplm_drivers import Instrument, connect
from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Found, Wanted
from tplm_gui.hub import Hub
from tplm_simulators import VirtualMicroscope


class Attached:
    """A hub that is linked to a station in this process, and the truth behind it."""

    def __init__(self, hub: Hub, microscopes: list[VirtualMicroscope]) -> None:
        self.hub = hub
        self._microscopes = microscopes

    @property
    def microscope(self) -> VirtualMicroscope:
        return self._microscopes[-1]


@contextmanager
def attached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str
) -> Iterator[Attached]:
    """A station of the simulated profile, not connected yet."""
    monkeypatch.setenv("TPLM_RUNTIME_DIR", str(tmp_path))
    microscopes: list[VirtualMicroscope] = []

    def opener(profile: object) -> Instrument:
        instrument = connect(profile)  # type: ignore[arg-type]
        microscope = instrument.laser.microscope  # type: ignore[attr-defined]
        assert isinstance(microscope, VirtualMicroscope)
        microscopes.append(microscope)
        return instrument

    with Station(load_profile("simulated", overrides), opener=opener) as station:
        assert station.entry is not None
        hub = Hub()
        link = Link(hub, Wanted())
        try:
            link.attach(Found(station.entry, is_own=False, words="a station of this test"))
            yield Attached(hub, microscopes)
        finally:
            link.close()
