"""Images: true values back, honest errors, the bound reached, and no number where there is none."""

import json

import numpy as np
import pytest

import tplm_analysis as ta
from tplm_analysis.global_fit import D_UNIT

CENTER = (0.05, -0.03)
ROUND = (np.eye(2) * 0.065, np.eye(2) * 0.02)


def tensor(major, minor, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s], [s, c]])
    return turn @ np.diag([major, minor]) @ turn.T


TILTED = (tensor(0.09, 0.06, 10), tensor(0.02, 0.005, 30))


def gaussian(x, y, covariance):
    """Normalised; written by the inverse matrix, unlike the code under test."""
    inverse = np.linalg.inv(covariance)
    d = np.stack([x - CENTER[0], y - CENTER[1]], axis=-1)
    return np.exp(-0.5 * np.einsum("...i,ij,...j", d, inverse, d)) / (
        2 * np.pi * np.sqrt(np.linalg.det(covariance))
    )


def expected(spot, d, n=21, bins=60, half=1.5, stop=6.0, total=1e5, share=0.05, growth=None):
    """Images (y, x, time) of `total` signal counts that decay in 2 ns, axis, times."""
    x = np.linspace(-half, half, n)
    t = (np.arange(bins) + 0.5) * stop / bins
    mx, my = np.meshgrid(x, x)
    widen = 2 * 0.1 * t if growth is None else growth(t)
    images = np.stack([gaussian(mx, my, spot + d * w) for w in widen], axis=-1) * np.exp(-t / 2)
    images *= total / images.sum()
    return images + share * total / images.size, x, t


def bound(spot, d, share=0.05, sigma=None, isotropic=False, **options):
    """Cramér–Rao errors of Dxx, Dyy, Dxy (or of D) by differences; every amplitude free."""
    step = 1e-5
    places = (0, 0), (1, 1), (0, 1)

    def shifted(i, h):
        change = np.zeros((2, 2))
        row, column = places[i % 3]
        change[row, column] = change[column, row] = h
        if i < 3:
            return expected(spot + change, d, share=0, **options)[0]
        return expected(spot, d + change / 0.2, share=0, **options)[0]

    signal, _, _ = expected(spot, d, share=0, **options)
    total = options.get("total", 1e5)
    flat = np.full_like(signal, share * total / signal.size)
    parts = [(shifted(i, step) - shifted(i, -step)) / (2 * step) for i in range(6)]
    if isotropic:
        parts = [parts[0] + parts[1], parts[3] + parts[4]]
    linear = [signal]
    if sigma is None:
        parts.append(np.ones_like(signal))
    else:
        linear.append(np.ones_like(signal))
    weight = 1 / (signal + flat) if sigma is None else np.full_like(signal, 1 / sigma**2)
    j = np.array([p.reshape(-1, signal.shape[-1]) for p in parts])
    n = np.array([p.reshape(-1, signal.shape[-1]) for p in linear])
    w = weight.reshape(-1, signal.shape[-1])
    information = np.einsum("apk,pk,bpk->ab", j, w, j)
    for k in range(signal.shape[-1]):
        cross, own = (j[:, :, k] * w[:, k]) @ n[:, :, k].T, (n[:, :, k] * w[:, k]) @ n[:, :, k].T
        information -= cross @ np.linalg.solve(own, cross.T)
    errors = np.sqrt(np.diag(np.linalg.inv(information))) / 0.2
    return errors[1:2] if isotropic else errors[3:6]


def codes(result):
    return {warning.code for warning in result.warnings}


def pulls(fits, name, true):
    """Deviations of a value over its errors."""
    head, unit = name.split("_cm2")[0] if "cm2" in name else name.rpartition("_")[0], None
    unit = name[len(head) :]
    value = np.array([getattr(fit, name) for fit in fits])
    return (value - true) / np.array([getattr(fit, f"{head}_stderr{unit}") for fit in fits])


# ------------------------------------------------------------------ exact limits


@pytest.mark.parametrize("shape", ["isotropic", "elliptic"])
@pytest.mark.parametrize("noise", ["poisson", "gaussian"])
def test_without_noise_the_truth_comes_back(shape, noise):
    spot, d = ROUND if shape == "isotropic" else TILTED
    images, x, t = expected(spot, d, n=17, bins=10, total=1e9)
    if noise == "poisson":
        images = np.rint(images)
    fit = ta.fit_images(
        images, x, x, t, shape=shape, noise=noise, time_zero_ns=0, t_range_ns=(0, 9)
    )
    assert fit.d_cm2_per_s == pytest.approx(np.trace(d) / 2, rel=1e-4)
    assert fit.center_x_um == pytest.approx(CENTER[0], abs=1e-5)
    assert fit.center_y_um == pytest.approx(CENTER[1], abs=1e-5)
    assert fit.sigma0_nm == pytest.approx(1e3 * np.sqrt(np.trace(spot) / 2), rel=1e-4)
    if shape == "elliptic":
        assert fit.d_x_cm2_per_s == pytest.approx(d[0, 0], rel=1e-3)
        assert fit.d_y_cm2_per_s == pytest.approx(d[1, 1], rel=1e-3)
        assert fit.d_xy_cm2_per_s == pytest.approx(d[0, 1], rel=1e-3)
        assert fit.d_major_cm2_per_s == pytest.approx(0.02, rel=1e-3)
        assert fit.d_minor_cm2_per_s == pytest.approx(0.005, rel=1e-3)
        assert fit.angle_deg == pytest.approx(30, abs=0.1)
        assert "anisotropic" in fit.comparison
    assert not codes(fit) - {"alpha"}


def test_places_in_any_order_with_gaps_and_unequal_exposures():
    rng = np.random.default_rng(3)
    images, x, t = expected(*ROUND, bins=20)
    mx, my = np.meshgrid(x, x)
    exposure = rng.uniform(0.5, 1.5, mx.size)
    counts = rng.poisson(images.reshape(-1, 20) * exposure[:, None])
    gone = rng.random(mx.size) < 0.2
    counts[gone], exposure[gone] = 7, 0.0
    order = rng.permutation(mx.size)
    straight = ta.fit_images(counts, mx.ravel(), my.ravel(), t, exposure)
    mixed = ta.fit_images(counts[order], mx.ravel()[order], my.ravel()[order], t, exposure[order])
    assert mixed.d_cm2_per_s == pytest.approx(straight.d_cm2_per_s, rel=1e-6)
    assert abs(straight.d_cm2_per_s - 0.02) < 3 * straight.d_stderr_cm2_per_s < 0.01
    assert codes(straight) <= {"missing-positions", "alpha"}
    assert "missing-positions" in codes(straight)


def test_round_is_round_and_agrees_with_the_projection():
    rng = np.random.default_rng(8)
    images, x, t = expected(*ROUND, total=3e5)
    counts = rng.poisson(images)
    both = ta.fit_images(counts, x, x, t)
    tilted = ta.fit_images(counts, x, x, t, shape="elliptic")
    line = ta.fit_map(counts.sum(axis=0), x, t)
    apart = tilted.d_x_cm2_per_s - tilted.d_y_cm2_per_s
    assert abs(apart) < 3 * np.hypot(tilted.d_x_stderr_cm2_per_s, tilted.d_y_stderr_cm2_per_s)
    assert tilted.angle_deg is None
    assert "isotropic fit will do" in tilted.comparison
    assert abs(both.d_cm2_per_s - line.d_cm2_per_s) < 3 * line.d_stderr_cm2_per_s
    # two axes know more than one of them
    assert both.d_stderr_cm2_per_s < line.d_stderr_cm2_per_s


# ------------------------------------------------------------------ statistics


CASES = {
    "poisson isotropic": ("isotropic", None),
    "poisson elliptic": ("elliptic", None),
    "gaussian isotropic": ("isotropic", 3e-3),
    "gaussian elliptic": ("elliptic", 3e-3),
}


def study(case, repeats, **options):
    """Fit many maps; a signal of Gaussian noise is negative in the first third of its delays."""
    shape, sigma = CASES[case]
    spot, d = ROUND if shape == "isotropic" else TILTED
    images, x, t = expected(spot, d, **options)
    sign = np.where(t < t[t.size // 3], -1, 1)
    scale = 1e3 / options["total"] * images.size / 1e4
    rng = np.random.default_rng(list(CASES).index(case))
    fits = []
    for _ in range(repeats):
        given = {"shape": shape, "time_zero_ns": 0, "t_range_ns": (0, 9)}
        if sigma is None:
            fits.append(ta.fit_images(rng.poisson(images), x, x, t, **given))
        else:
            signal = scale * images * sign + rng.normal(0, sigma, images.shape)
            fits.append(ta.fit_images(signal, x, x, t, noise="gaussian", **given))
    sigma = None if sigma is None else sigma / scale
    best = bound(spot, d, sigma=sigma, isotropic=shape == "isotropic", **options)
    names = {"d_cm2_per_s": np.trace(d) / 2, "sigma0_nm": 1e3 * np.sqrt(np.trace(spot) / 2)}
    names |= {"center_x_um": CENTER[0], "center_y_um": CENTER[1]}
    if shape == "elliptic":
        names |= {"d_x_cm2_per_s": d[0, 0], "d_y_cm2_per_s": d[1, 1], "d_xy_cm2_per_s": d[0, 1]}
        names |= {"d_major_cm2_per_s": 0.02, "d_minor_cm2_per_s": 0.005, "angle_deg": 30.0}
    axes = ["d_x_cm2_per_s", "d_y_cm2_per_s", "d_xy_cm2_per_s"][: 3 * (shape == "elliptic")]
    efficiency = {
        name: error**2 / np.var([getattr(fit, name) for fit in fits], ddof=1)
        for name, error in zip(axes or ["d_cm2_per_s"], best, strict=True)
    }
    return {name: pulls(fits, name, true) for name, true in names.items()}, efficiency


@pytest.mark.parametrize("case", CASES)
def test_a_few_maps_of_each_kind(case):
    found, efficiency = study(case, 12, n=15, bins=12, total=1e5)
    for name, z in found.items():
        assert abs(z.mean()) < 3.5 / np.sqrt(12), name
        assert 0.4 < z.std() < 1.7, name
    assert all(0.3 < value < 4 for value in efficiency.values())


@pytest.mark.full
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("case", CASES)
def test_bias_coverage_and_efficiency(case):
    """200 maps: 0.15 σ and 0.9 are demanded within 2 errors of the mean and of a variance."""
    repeats = 200
    found, efficiency = study(case, repeats, n=21, bins=30, total=2e5)
    for name, z in found.items():
        inside = np.mean(np.abs(z) < 1)
        print(f"{case:20s} {name:18s} {z.mean():+.3f} {inside:.3f} {z.std():.3f}")
        assert abs(z.mean()) < 0.15 + 2 / np.sqrt(repeats), name
        assert abs(inside - 0.683) < 0.04 + 2 * np.sqrt(0.217 / repeats), name
    for name, value in efficiency.items():
        print(f"{case:20s} {name:18s} efficiency {value:.3f}")
        assert value > 0.9 - 2 * value * np.sqrt(2 / repeats), name


# ------------------------------------------------------------------ single images


@pytest.mark.parametrize("shape", ["isotropic", "elliptic"])
def test_single_images_of_a_signal_that_changes_its_sign(shape):
    rng = np.random.default_rng(11)
    images, x, t = expected(*ROUND, n=17, bins=24, total=1e5)
    sign = np.clip((t - 3.0) / 0.4, -1, 1)
    signal = images * sign + rng.normal(0, 2.0, images.shape)
    found = ta.fit_image_slices(signal, x, x, t, noise="gaussian", shape=shape)
    assert "sign-change" in codes(found)
    near = np.abs(t - 3.0) < 0.05
    assert not found.good[near].any()
    assert np.isnan(found.sigma2_um2[~found.good]).all()
    z = (found.sigma2_um2 - 0.065 - 0.2 * 0.02 * t)[found.good]
    z = z / found.sigma2_stderr_um2[found.good]
    assert found.good.sum() > 12
    assert abs(z.mean()) < 3 / np.sqrt(z.size)
    assert 0.6 < z.std() < 1.5
    assert found.noise_sd == pytest.approx(2.0, rel=0.05)


def test_width_of_each_image_is_unbiased_and_its_errors_true():
    images, x, t = expected(*TILTED, n=15, bins=6, total=6e4)
    rng = np.random.default_rng(12)
    z = []
    for _ in range(25):
        found = ta.fit_image_slices(rng.poisson(images), x, x, t, shape="elliptic")
        truth = [TILTED[0] + 0.2 * TILTED[1] * one for one in found.t_ns[:4]]
        for k, c in enumerate(truth):
            z.append(
                [
                    (found.sigma2_x_um2[k] - c[0, 0]) / found.sigma2_x_stderr_um2[k],
                    (found.sigma2_y_um2[k] - c[1, 1]) / found.sigma2_y_stderr_um2[k],
                    (found.sigma2_xy_um2[k] - c[0, 1]) / found.sigma2_xy_stderr_um2[k],
                ]
            )
    z = np.array(z)
    assert np.all(np.abs(z.mean(axis=0)) < 0.15 + 3 / np.sqrt(len(z)))
    assert np.all(np.abs((np.abs(z) < 1).mean(axis=0) - 0.683) < 0.1)


def test_moments_along_the_axes():
    images, x, t = expected(*TILTED, n=21, bins=4, half=2.0, total=4e5)
    rng = np.random.default_rng(13)
    z, free = [], []
    for _ in range(25):
        counts = rng.poisson(images)
        known = 0.05 * 4e5 / images.size
        for background, to in ((known, z), (None, free)):
            m = ta.image_moments(counts, x, x, t, background=background)
            for k in range(2):
                c = TILTED[0] + 0.2 * TILTED[1] * t[k]
                to.append(
                    [
                        (m.mean_x_um[k] - CENTER[0]) / m.mean_x_stderr_um[k],
                        (m.variance_x_um2[k] - c[0, 0]) / m.variance_x_stderr_um2[k],
                        (m.variance_y_um2[k] - c[1, 1]) / m.variance_y_stderr_um2[k],
                        (m.covariance_um2[k] - c[0, 1]) / m.covariance_stderr_um2[k],
                    ]
                )
    for found in (np.array(z), np.array(free)):
        assert np.all(np.abs(found.mean(axis=0)) < 0.15 + 3 / np.sqrt(len(found)))
        assert np.all(np.abs(found.std(axis=0) - 1) < 0.25)


# ------------------------------------------------------------------ no confident wrong number


def noise_only(x, t, rng):
    return rng.poisson(5, (x.size, x.size, t.size))


def dark(x, t, rng):
    return np.zeros((x.size, x.size, t.size), int)


def cut_off(x, t, rng):
    return rng.poisson(expected(*ROUND, n=15, bins=12, half=0.4, total=2e5)[0])


def too_coarse(x, t, rng):
    return rng.poisson(expected(np.eye(2) * 0.004, np.eye(2) * 1e-4, n=15, bins=12)[0])


def ring(x, t, rng):
    mx, my = np.meshgrid(x, x)
    flat = np.exp(-0.5 * ((np.hypot(mx, my) - 0.6) / 0.15) ** 2)
    return rng.poisson(200 * flat[..., None] * np.exp(-t / 3) + 1)


def oval(x, t, rng):
    return rng.poisson(expected(*TILTED, n=15, bins=12, total=3e5)[0])


def slow(x, t, rng):
    return rng.poisson(
        expected(*ROUND, n=15, bins=12, total=3e6, growth=lambda t: 3 * 0.2 * t**0.5)[0]
    )


@pytest.mark.parametrize(
    ("make", "code", "given"),
    [
        (noise_only, "no-signal", False),
        (dark, "no-signal", False),
        (cut_off, "truncated-range", True),
        (too_coarse, "undersampled", None),
        (ring, "misfit", None),
        (oval, "elliptic", True),
        (slow, "anomalous", True),
    ],
)
def test_warnings(make, code, given):
    half = 0.4 if make is cut_off else 1.5
    x, t = np.linspace(-half, half, 15), (np.arange(12) + 0.5) / 2
    fit = ta.fit_images(make(x, t, np.random.default_rng(5)), x, x, t)
    assert code in codes(fit)
    if given is not None:
        assert (fit.d_cm2_per_s is not None) is given
    assert json.loads(fit.to_json())["shape"] == "isotropic"
    assert str(fit)


def test_a_noisy_signal_without_a_spot_has_no_width():
    x, t = np.linspace(-1, 1, 15), np.arange(10.0)
    signal = np.random.default_rng(2).normal(0, 1, (15, 15, 10))
    assert ta.fit_images(signal, x, x, t, noise="gaussian").d_cm2_per_s is None
    found = ta.fit_image_slices(signal, x, x, t, noise="gaussian")
    assert not found.good.any()
    assert "no-signal" in codes(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"counts": np.zeros((3, 3))}, "places"),
        ({"counts": np.zeros(5)}, "must be numbers by"),
        ({"counts": np.full((9, 9, 4), "a")}, "must be numbers by"),
        ({"x_um": np.full(9, np.nan)}, "x_um must be a list of finite"),
        ({"y_um": np.zeros(8)}, "must be \\(y, x, time\\)"),
        ({"t_ns": np.zeros(4)}, "must increase"),
        ({"shape": "square"}, "shape is"),
        ({"noise": "pink"}, "noise is"),
        ({"noise_sd": 1.0}, "follows from them"),
        ({"noise": "gaussian", "noise_sd": -1.0}, "positive"),
        ({"noise": "gaussian", "noise_sd": np.ones(3)}, "one for each time"),
        ({"t_range_ns": (3, 1)}, "start < stop"),
        ({"exposure_s": np.full((9, 9), -1.0)}, "negative"),
    ],
)
def test_what_is_malformed(change, words):
    given = {
        "counts": np.ones((9, 9, 4), int), "x_um": np.arange(9.0), "y_um": np.arange(9.0),
        "t_ns": np.arange(4.0),
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=words):
        ta.fit_images(**given)


# ------------------------------------------------------------------ mean square displacement


T = np.geomspace(0.1, 10, 30)


@pytest.mark.parametrize(
    ("alpha", "kind"), [(0.5, "sub-diffusive"), (1.0, "diffusive"), (1.6, "super-diffusive")]
)
def test_one_power_law(alpha, kind):
    rng = np.random.default_rng(1)
    error = np.full(T.size, 4e-4)
    z = []
    for _ in range(40):
        fit = ta.fit_msd(T, rng.normal(0.01 * T**alpha, error), error)
        assert len(fit.regimes) == 1
        z.append((fit.regimes[0].alpha - alpha) / fit.regimes[0].alpha_stderr)
    assert abs(np.mean(z)) < 0.15 + 3 / 40**0.5
    assert np.std(z) == pytest.approx(1, abs=0.4)
    exact = ta.fit_msd(T, 0.01 * T**alpha, error)
    assert exact.regimes[0].kind == kind
    assert exact.d_mean_cm2_per_s == pytest.approx(10 * 0.01 * T ** (alpha - 1) / 2)
    assert exact.d_fit_cm2_per_s == pytest.approx(
        10 * alpha * 0.01 * T ** (alpha - 1) / 2, rel=1e-4
    )
    long = 0.01 * T**alpha > error
    assert exact.length_nm[long] == pytest.approx(100 * T[long] ** (alpha / 2))
    assert np.isnan(exact.length_nm[~long]).all()


def test_two_regimes_come_back():
    rng = np.random.default_rng(4)
    truth = 0.02 * np.where(T < 1, T**1.3, T**0.5)
    error = np.full(T.size, 5e-4)
    z = []
    for _ in range(40):
        fit = ta.fit_msd(T, rng.normal(truth, error), error)
        assert [one.kind for one in fit.regimes] == ["super-diffusive", "sub-diffusive"]
        z.append(
            [
                (fit.regimes[0].alpha - 1.3) / fit.regimes[0].alpha_stderr,
                (fit.regimes[1].alpha - 0.5) / fit.regimes[1].alpha_stderr,
                (fit.break_ns - 1) / fit.break_stderr_ns,
            ]
        )
    assert np.all(np.abs(np.mean(z, axis=0)) < 0.2 + 3 / 40**0.5)
    assert np.all(np.abs(np.std(z, axis=0) - 1) < 0.35)
    assert fit.break_length_nm == pytest.approx(1e3 * np.sqrt(0.02), rel=0.05)


def test_a_second_regime_is_rarely_seen_in_noise():
    rng = np.random.default_rng(6)
    error = np.full(T.size, 1e-3)
    fits = [ta.fit_msd(T, rng.normal(0.01 * T, error), error) for _ in range(60)]
    assert sum(len(fit.regimes) == 2 for fit in fits) <= 2


def test_the_error_of_sigma0_is_common_to_all_points():
    rng = np.random.default_rng(7)
    error, common = np.full(T.size, 4e-4), 2e-3
    z = []
    for _ in range(40):
        msd = rng.normal(0.01 * T**0.8, error) + rng.normal(0, common)
        fit = ta.fit_msd(T, msd, error, common_stderr_um2=common)
        z.append((fit.regimes[0].alpha - 0.8) / fit.regimes[0].alpha_stderr)
    assert np.std(z) == pytest.approx(1, abs=0.4)
    plain = ta.fit_msd(T, 0.01 * T**0.8, error)
    shifted = ta.fit_msd(T, 0.01 * T**0.8, error, common_stderr_um2=common)
    assert shifted.regimes[0].alpha_stderr > 1.5 * plain.regimes[0].alpha_stderr
    # what all points share cancels in a difference, and only there
    assert shifted.d_slope_stderr_cm2_per_s == pytest.approx(plain.d_slope_stderr_cm2_per_s)
    assert np.all(shifted.d_mean_stderr_cm2_per_s > plain.d_mean_stderr_cm2_per_s)


@pytest.mark.parametrize(
    ("t", "msd", "code"),
    [
        (T, 1e-6 * T, "no-growth"),
        (T[:2], 0.01 * T[:2], "few-points"),
        (T, 0.05 * np.sin(T), "misfit"),
    ],
)
def test_what_has_no_exponent(t, msd, code):
    fit = ta.fit_msd(t, msd, np.full(t.size, 5e-4))
    assert code in codes(fit)
    assert (fit.regimes == ()) is (code != "misfit")
    assert str(fit)


def test_slopes_of_a_long_msd():
    """The errors are those of the differences of neighbours, at the ends too."""
    t = np.cumsum(np.random.default_rng(4).uniform(0.5, 1.5, 10**5))
    stderr = 1e-3 * t
    found = ta.fit_msd(t, 0.02 * t, stderr)
    assert found.d_slope_cm2_per_s == pytest.approx(0.01 / D_UNIT)
    few = ta.fit_msd(t[:6], 0.02 * t[:6], stderr[:6])
    pull = np.gradient(np.eye(6), t[:6], axis=0)
    wanted = 0.5 * np.sqrt(pull**2 @ stderr[:6] ** 2) / D_UNIT
    assert few.d_slope_stderr_cm2_per_s == pytest.approx(wanted)


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_signal_without_any_structure_gives_nothing(value):
    x, t = np.linspace(-1, 1, 9), np.arange(5.0)
    assert ta.fit_images(np.full((9, 9, 5), value), x, x, t, noise="gaussian").d_cm2_per_s is None


def test_moments_of_nothing():
    x = np.linspace(-1, 1, 9)
    with pytest.raises(ValueError, match="No place was measured"):
        ta.image_moments(np.full((9, 9, 2), np.nan), x, x, [0.0, 1.0], noise="gaussian")


def test_msd_that_is_malformed():
    with pytest.raises(ValueError, match="equally long"):
        ta.fit_msd([1, 2, 3], [1, 2], [1, 1, 1])
    with pytest.raises(ValueError, match="increase"):
        ta.fit_msd([1, 3, 2], [1, 2, 3], [1, 1, 1])
    with pytest.raises(ValueError, match="positive"):
        ta.fit_msd([1, 2, 3], [1, 2, 3], [1, 0, 1])
