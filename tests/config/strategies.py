"""Any legal plan, of a size a test can walk through."""

from typing import Any

from hypothesis import strategies as st

from tplm_config import CrossScan, LineScan, PositionScan, RasterScan, ScanPlan

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLACES_UM = st.floats(-10_000, 10_000)
HALF_RANGES_UM = st.floats(0, 10_000, exclude_min=True)
DWELLS_S = st.floats(1e-6, 86_400)
COUNTS = st.integers(1, 9)


@st.composite
def cards(draw: st.DrawFn) -> dict[str, Any]:
    time_bin_ps = draw(st.floats(1e-3, 1e6))
    return {
        "mode": draw(st.sampled_from(["histogram", "t3"])),
        "time_bin_ps": time_bin_ps,
        "range_ns": draw(st.integers(3, 65_000)) * time_bin_ps / 1e3,
        "sync_divider": draw(st.sampled_from([1, 2, 4, 8, 16])),
        "offset_ns": draw(st.floats(0, 100_000)),
    }


def place() -> dict[str, Any]:
    return {"x_um": PLACES_UM, "y_um": PLACES_UM}


def common() -> dict[str, Any]:
    positive = st.floats(0, 1e9, exclude_min=True)
    dark = {"dwell_s": DWELLS_S, "when": st.sampled_from(["before", "after", "both"]), **place()}
    irf = {"dwell_s": DWELLS_S, "sample_x_um": PLACES_UM, "sample_y_um": PLACES_UM}
    reference = {"every_visits": st.integers(1, 50), "dwell_s": DWELLS_S, **place()}
    return {
        "dwell_s": DWELLS_S,
        "passes": st.integers(1, 5),
        "order": st.sampled_from(["one-way", "bidirectional", "interleaved", "random"]),
        "seed": st.integers(0, 2**63 - 1),
        "card": cards(),
        "excitation": st.fixed_dictionaries(
            {}, optional={"power_nw": positive, "repetition_rate_hz": positive}
        ),
        "background": st.none() | st.fixed_dictionaries(dark),
        "irf": st.none() | st.fixed_dictionaries(irf),
        "reference": st.none() | st.fixed_dictionaries(reference),
        "operator": TEXT,
        "sample": TEXT,
        "notes": TEXT,
    }


def plans() -> st.SearchStrategy[ScanPlan]:
    center = {"x_center_um": PLACES_UM, "y_center_um": PLACES_UM}
    lines = st.builds(
        LineScan,
        axis=st.sampled_from("xy"),
        half_range_um=HALF_RANGES_UM,
        positions=COUNTS,
        **center,
        **common(),
    )
    crosses = st.builds(
        CrossScan, half_range_um=HALF_RANGES_UM, positions=COUNTS, **center, **common()
    )
    rasters = st.builds(
        RasterScan,
        x_half_range_um=HALF_RANGES_UM,
        y_half_range_um=HALF_RANGES_UM,
        x_positions=COUNTS,
        y_positions=COUNTS,
        **center,
        **common(),
    )
    lists = COUNTS.flatmap(
        lambda n: st.builds(
            PositionScan,
            x_um=st.lists(PLACES_UM, min_size=n, max_size=n),
            y_um=st.just(()) | st.lists(PLACES_UM, min_size=n, max_size=n),
            **common(),
        )
    )
    return st.one_of(lines, crosses, rasters, lists)
