"""Excitation density against tables S1 and S2 of S1."""

import math

import pytest

import tplm_analysis as ta


@pytest.mark.parametrize(("table", "rate_hz", "rows"), [("S1", 2.5e6, 7), ("S2", 5e6, 6)])
def test_published_tables(table, rate_hz, rows):
    found = ta.compare_published(table)
    assert found.rep_rate_hz == rate_hz
    assert len(found.paper) == len(found.ours) == rows
    for theirs, ours in zip(found.paper, found.ours, strict=True):
        assert ours == pytest.approx(theirs, rel=0.02)
    assert found.largest_deviation < 0.02
    text = str(found)
    assert len(text.splitlines()) == rows + 3
    assert "0.0082" in text or "0.0041" in text


@pytest.mark.parametrize(
    ("table", "row"),
    # rows as printed, among them those whose printed values are off most
    [
        ("S1", (4, 1.48, 0.76, 0.30, 0.0326)),
        ("S1", (20, 7.4, 3.8, 1.52, 0.163)),
        ("S2", (0.5, 0.185, 0.095, 0.019, 0.00205)),
        ("S2", (25, 9.25, 4.75, 0.95, 0.1025)),
    ],
)
def test_rows_are_as_printed(table, row):
    found = ta.compare_published(table)
    where = found.nominal_power_nw.index(row[0])
    assert found.paper[where] == row[1:]
    one = ta.excitation(row[0], found.rep_rate_hz)
    assert found.ours[where][-1] == one.mean_excitons_per_nc


def test_power_for_what_is_wanted():
    for wanted in ({"mean_excitons_per_nc": 0.1}, {"fluence_uj_per_cm2": 0.93}):
        found = ta.excitation_for(5e6, fwhm_nm=400, convention="gaussian-peak", **wanted)
        back = ta.excitation(found.nominal_power_nw, 5e6, fwhm_nm=400, convention="gaussian-peak")
        assert back == found
        for name, value in wanted.items():
            assert getattr(back, name) == pytest.approx(value)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"mean_excitons_per_nc": 0.1, "fluence_uj_per_cm2": 1},
        {"mean_excitons_per_nc": 0},
        {"fluence_uj_per_cm2": math.nan},
    ],
)
def test_nothing_to_aim_at(wanted):
    with pytest.raises(ValueError, match=r"mean_excitons_per_nc|fluence_uj_per_cm2"):
        ta.excitation_for(5e6, **wanted)


def test_no_other_table():
    with pytest.raises(ValueError, match="S3"):
        ta.compare_published("S3")


def test_constants():
    found = ta.excitation(1, 2.5e6)
    assert found.cross_section_cm2 == pytest.approx(5.29e-14, rel=2e-3)
    assert found.photon_energy_ev == pytest.approx(3.062, rel=1e-3)
    per_us = found.mean_excitons_per_nc * 2.5
    assert found.mean_time_between_excitations_us == pytest.approx(1 / per_us)
    assert "top-hat-fwhm" in str(found)


def test_gaussian_peak_is_ln2_of_the_top_hat():
    flat = ta.excitation(10, 1e6)
    peak = ta.excitation(10, 1e6, convention="gaussian-peak")
    assert peak.intensity_w_per_cm2 == pytest.approx(math.log(2) * flat.intensity_w_per_cm2)
    area = math.pi * (500e-7) ** 2
    assert peak.intensity_w_per_cm2 == pytest.approx(3.74e-9 * 4 * math.log(2) / area)


def test_dark():
    found = ta.excitation(0, 1e6)
    assert found.mean_time_between_excitations_us == math.inf
    assert '"mean_time_between_excitations_us": null' in found.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"nominal_power_nw": -1},
        {"rep_rate_hz": 0},
        {"fwhm_nm": -5},
        {"edge_nm": math.nan},
        {"throughput": 37.4},
        {"convention": "flat"},
    ],
)
def test_malformed(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        ta.excitation(**{"nominal_power_nw": 1, "rep_rate_hz": 1e6, **change})
