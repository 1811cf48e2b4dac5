"""The fast kernel of single slices, against the same equations solved by scipy."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import root

import tplm_analysis as ta
from tplm_analysis.batch import fit_each

LIMITS = np.array([1e-4, 64.0])


def run(counts, x, exposure, width, theta, start, area=None, steps=40):
    """Return variance, amplitude, their errors, and where a maximum was found."""
    n = counts.shape[0]
    variance = np.broadcast_to(start, n).astype(float)
    amplitude = np.zeros(n) if area is None else area.copy()
    errors = np.empty(n), np.empty(n)
    good = np.zeros(n, dtype=np.bool_)
    fit_each(
        np.ascontiguousarray(counts, dtype=float), x, exposure, width, theta, LIMITS, steps,
        variance, amplitude, *errors, good,
    )  # fmt: skip
    return variance, amplitude, *errors, good


def model(x, exposure, width, theta, a, v):
    """Return the expected counts and their derivatives by a and v."""
    x0, b, f, delta = theta[:4]
    u2 = (x - x0) ** 2

    def normal(v):
        g = exposure * np.exp(-0.5 * u2 / v) / np.sqrt(2 * np.pi * v)
        return g, g * (u2 / v - 1) / (2 * v)

    narrow, wide = normal(v), normal(v + delta)
    profile, slope = ((1 - f) * n + f * w for n, w in zip(narrow, wide, strict=True))
    return a * profile + b * width * exposure, profile, a * slope


LINE = np.linspace(-2, 2, 41)
UNEVEN = np.sort(np.random.default_rng(8).uniform(-2, 2, 33))
HOLES = np.where(np.arange(41) % 5 == 1, 0.0, 1.0)
PLAIN = np.array([0.03, 2.0, 0.0, 1.0])
CASES = {
    "even line": (LINE, np.ones(41), 1.0, PLAIN, 3e3),
    "few counts": (LINE, np.ones(41), 1.0, PLAIN, 60.0),
    "missing positions": (LINE, HOLES, 1.0, PLAIN, 3e3),
    "uneven line and exposures": (UNEVEN, np.linspace(0.3, 1.7, 33), 1.0, PLAIN, 3e3),
    "pooled": (LINE, np.ones(41), 7.0, PLAIN, 1e4),
    "hardly any background": (LINE, np.ones(41), 1.0, np.array([0.0, 1e-5, 0.0, 1.0]), 1e3),
    "wings": (LINE, np.ones(41), 1.0, np.array([0.0, 2.0, 0.25, 0.4]), 5e3),
    "bright": (LINE, np.ones(41), 1.0, PLAIN, 1e8),
    "sixteen positions": (np.linspace(-1.5, 1.5, 16), np.ones(16), 1.0, PLAIN, 3e3),
    "seventeen positions": (np.linspace(-1.5, 1.5, 17), np.ones(17), 1.0, PLAIN, 3e3),
}


@pytest.mark.parametrize("name", CASES)
def test_solves_the_likelihood_equations(name):
    x, exposure, width, theta, area = CASES[name]
    rng = np.random.default_rng(3)
    widths = np.full(12, width)
    truth = np.linspace(0.05, 0.15, 12)
    counts = np.array([rng.poisson(model(x, exposure, width, theta, area, v)[0]) for v in truth])
    variance, amplitude, v_error, a_error, good = run(counts, x, exposure, widths, theta, 0.07)
    assert good.sum() >= 10
    seen = exposure > 0
    for k in np.flatnonzero(good):

        def score(p, n=counts[k, seen]):
            rate, by_a, by_v = (part[seen] for part in model(x, exposure, width, theta, *p))
            rest = n / rate - 1
            return by_a @ rest, by_v @ rest

        unit = np.array([a_error[k], v_error[k]])
        here = np.array([amplitude[k], variance[k]])
        exact = root(lambda z: np.array(score(here + z * unit)) * unit, [0.0, 0.0], tol=1e-13).x  # noqa: B023
        assert np.abs(exact).max() < 1e-6
        rate, by_a, by_v = (part[seen] for part in model(x, exposure, width, theta, *here))
        jac = np.stack([by_a, by_v])
        expected = np.sqrt(np.diag(np.linalg.inv(jac / rate @ jac.T)))
        assert unit == pytest.approx(expected, rel=2e-6)


@pytest.fixture(scope="module")
def film():
    """A map as long as those of the live display, most slices with few counts at the end."""
    film = ta.synthetic_map(4, amplitude=1e6, bins=1024, bin_ns=0.02)
    theta = np.array([0.0, film.truth.background_per_bin, 0.0, 1.0])
    return film.counts.T.astype(float), film.x_um, np.ones(41), np.ones(1024), theta


def test_where_it_starts_does_not_matter(film):
    cold = run(*film, 0.08)
    for start, area in ((0.03, None), (0.3, None), (cold[0], cold[1]), (cold[0], 3 * cold[1])):
        again = run(*film, start, area)
        both = cold[4] & again[4] & (film[0].sum(axis=1) > 200)
        assert np.array_equal(cold[4][: both.size // 2], again[4][: both.size // 2])
        off = np.abs(again[0] - cold[0])[both] / cold[2][both]
        # A slice that is mostly background may have a second maximum.
        assert np.count_nonzero(off > 1e-6) <= 0.005 * both.sum()


def test_order_of_positions_does_not_matter(film):
    counts, x, exposure, width, theta = film
    order = np.random.default_rng(0).permutation(x.size)
    forward = run(counts, x, exposure, width, theta, 0.08)
    shuffled = run(counts[:, order], x[order], exposure, width, theta, 0.08)
    good = forward[4] & shuffled[4]
    assert good[:700].all()
    assert shuffled[0][:700] == pytest.approx(forward[0][:700], rel=1e-7)


def test_what_was_not_measured_counts_for_nothing(film):
    counts, x, exposure, width, theta = film
    seen = np.arange(x.size) % 3 > 0
    less = run(counts[:, seen], x[seen], exposure[seen], width, theta, 0.08)
    noise = np.where(seen, counts, 1e9)
    holed = run(noise, x, np.where(seen, 1.0, 0.0), width, theta, 0.08)
    assert np.array_equal(less[4], holed[4])
    assert holed[0][less[4]] == pytest.approx(less[0][less[4]], rel=1e-7)
    assert holed[2][less[4]] == pytest.approx(less[2][less[4]], rel=1e-5)


def test_errors_at_a_given_variance(film):
    counts, x, exposure, width, theta = film
    given = np.linspace(0.06, 0.1, counts.shape[0])
    variance, amplitude, error, _, good = run(counts, x, exposure, width, theta, given, steps=0)
    assert np.array_equal(variance, given)
    assert good[:700].all()
    for k in (0, 100, 600):
        rate, by_a, by_v = model(x, exposure, 1.0, theta, amplitude[k], given[k])
        assert by_a @ (counts[k] / rate - 1) == pytest.approx(0, abs=1e-6 * by_a.sum())
        jac = np.stack([by_a, by_v])
        assert error[k] == pytest.approx(np.sqrt(np.linalg.inv(jac / rate @ jac.T)[1, 1]), rel=1e-6)


@pytest.mark.parametrize(
    "row",
    [
        np.zeros(41),
        np.eye(41)[20] * 9,  # too few
        np.eye(41)[20] * 500,  # no width
        np.full(41, 50.0),  # no profile
        np.where(np.abs(LINE) > 1.5, 100.0, 0.0),  # a hole
    ],
)
def test_no_maximum_is_said(row):
    found = run(row[None], LINE, np.ones(41), np.ones(1), PLAIN, 0.08)
    assert not found[4][0]


def test_warm_up_compiles_every_kernel():
    """In a process of its own: here other tests have compiled them."""
    # A kernel that only other kernels call is part of their machine code.
    program = """
import importlib, pkgutil, numba, tplm_analysis
tplm_analysis.warm_up()
kernels = {
    name: value
    for module in pkgutil.iter_modules(tplm_analysis.__path__, "tplm_analysis.")
    for name, value in vars(importlib.import_module(module.name)).items()
    if isinstance(value, numba.core.dispatcher.Dispatcher)
}
inner = {name for value in kernels.values() for name in value.py_func.__code__.co_names}
print(*(name for name, value in kernels.items() if name not in inner and not value.signatures))
print(*sorted(kernels.keys() - inner))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    missing, entries = ran.stdout.split("\n")[:2]
    assert missing == ""
    assert {"fit_each", "profile_likelihood", "fit_profiles"} <= set(entries.split())
