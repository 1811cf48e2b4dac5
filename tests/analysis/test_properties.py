"""Whatever the map: a number with its error, or None with a reason; never NaN, never a crash."""

import json

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tplm_analysis as ta

METHODS = st.sampled_from(["global", "slices", "gaussian-msd", "voigt-davg", "moment"])
QUIET = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def maps(draw):
    rows, bins = draw(st.integers(1, 12)), draw(st.integers(1, 25))
    largest = draw(st.sampled_from([1, 5, 300, 10**5, 10**9]))
    counts = draw(arrays(np.int64, (rows, bins), elements=st.integers(0, largest)))
    places = st.floats(-3, 3, allow_subnormal=False).map(lambda v: round(v, 2))
    x = draw(arrays(np.float64, rows, elements=places))
    t = np.cumsum(draw(arrays(np.float64, bins, elements=st.floats(0.01, 2))))
    exposure = draw(st.none() | arrays(np.float64, rows, elements=st.sampled_from([0, 0.5, 1, 20])))
    return counts, x, t, exposure


def check(fit):
    json.dumps(fit.to_dict(), allow_nan=False)
    str(fit)
    missing = [key for key, value in fit.to_dict().items() if value is None]
    assert fit.warnings or not missing
    assert (fit.d_cm2_per_s is None) <= (fit.d_stderr_cm2_per_s is None)


@QUIET
@given(maps(), METHODS, st.none() | st.floats(0, 1e6))
def test_random_counts(film, method, background):
    check(ta.fit_map(*film, method, background_per_bin=background))
    slices = ta.fit_slices(*film)
    assert np.isfinite(slices.sigma2_um2[slices.converged]).all()


@QUIET
@given(
    st.integers(0, 2**31),
    METHODS,
    st.floats(1, 6).map(lambda p: 10**p),
    st.floats(-0.01, 1),
    st.floats(100, 2000),
    st.floats(0, 10),
    st.integers(3, 41),
    st.floats(-3, 3),
)
def test_plausible_maps(seed, method, amplitude, d, fwhm, background, positions, center):
    d = max(d, -((fwhm / 2355) ** 2) / 0.2 / 21)
    film = ta.synthetic_map(
        seed,
        amplitude=amplitude,
        d_cm2_per_s=d,
        fwhm0_nm=fwhm,
        background_fraction=background,
        positions=positions,
        center_um=center,
        bins=80,
        bin_ns=0.25,
    )
    check(ta.fit_map(film.counts, film.x_um, film.t_ns, method=method))


@QUIET
@given(
    st.lists(st.lists(st.floats() | st.integers() | st.none(), max_size=4), max_size=4),
    st.lists(st.floats(), max_size=4),
    st.lists(st.floats(), max_size=4),
)
def test_malformed_input_raises_value_error(counts, x, t):
    try:
        check(ta.fit_map(counts, x, t))
    except ValueError as error:
        assert str(error)
