"""What answers, as the command line tells it without opening the rest."""

import json
from pathlib import Path
from typing import Any

import pytest

from tplm_daq.cli import main
from tplm_drivers import picoquant
from tplm_drivers.connect import Opener
from tplm_simulators.wire.picoquant import SimulatedLibrary


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["devices", "--discover", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> list[SimulatedLibrary]:
    """The simulated library, when there is one; no other role may be served."""
    served: list[SimulatedLibrary] = []
    serve = Opener._address

    def address(opener: Opener, role: Any) -> tuple[Any, Any]:
        assert role == "card"
        settings, library = serve(opener, role)
        served.append(library)
        return settings, library

    monkeypatch.setattr(Opener, "_address", address)
    return served


def test_cards_are_listed(
    capsys: pytest.CaptureFixture[str], library: list[SimulatedLibrary]
) -> None:
    code, out, err = run(capsys, "--profile", "purdue", "--simulated")
    assert (code, err) == (0, "")
    assert out == "card: device 0: 1000001\n"
    (found,) = library
    assert {name for name, _ in found.calls} == {"OpenDevice", "CloseDevice"}
    assert found.calls.count(("CloseDevice", (0,))) == 1


def test_what_is_busy_is_listed_with_why(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    library: list[SimulatedLibrary],
) -> None:
    discover = picoquant.discover

    def busy(role: str, settings: Any, library: Any) -> Any:
        library.held = True
        library.others = {3: "1000555"}
        return discover(role, settings, library)

    monkeypatch.setattr(picoquant, "discover", busy)
    code, out, _ = run(capsys, "--profile", "purdue", "--simulated", "--json")
    assert code == 0
    (row,) = json.loads(out)["discovered"]
    assert (row["role"], row["driver"], row["error"]) == ("card", "picoquant", None)
    first, second = row["found"]
    assert first["serial_number"] is None
    assert "in use by another program" in first["error"]
    assert second == {"device": 3, "serial_number": "1000555", "error": None}


def test_nothing_answers(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    library: list[SimulatedLibrary],
) -> None:
    monkeypatch.setattr(picoquant, "DEVICES", range(5, 8))
    code, out, err = run(capsys, "--profile", "purdue", "--simulated")
    assert code == 4
    assert err == "card: nothing answers; check its cable, its power and its device driver\n"
    assert out.strip() == ""


def test_no_library(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "none.dll"
    where = f"card.driver.library={json.dumps(str(path))}"
    code, out, err = run(capsys, "--profile", "purdue", "--set-profile", where, "--json")
    assert code == 4
    (row,) = json.loads(out)["discovered"]
    assert row["error"].startswith("card: the library ")
    assert "cannot be loaded" in row["error"]
    assert err == f"{row['error']}\n"


def test_no_driver_can_look(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert out == "no driver of the profile 'simulated' can look for its device\n"
