"""Compile the kernels before they are needed."""

from functools import cache
from typing import get_args

import numpy as np

from .fits import Method
from .images import fit_images
from .live_map import LiveMap
from .map_fit import fit_map
from .slice_fit import fit_slices


@cache
def warm_up() -> None:
    """Compile every kernel, or load it from the cache; may run in a background thread.

    Loading takes about half a second; compiling, once after an installation or an update, a
    quarter of a minute. The second call in a process does nothing.
    """
    t = np.arange(40) * 0.1
    x = np.linspace(-1, 1, 9)
    # A profile with wings, so that both branches of the likelihood are compiled.
    profile = np.exp(-8 * x**2) + 0.3 * np.exp(-1.5 * x**2)
    counts = np.rint(400 * np.outer(profile, np.exp(-t / 2)) + 5).astype(np.int64)
    methods: tuple[Method, ...] = get_args(Method)
    for method in methods:
        fit_map(counts, x, t, method=method)
    fit_slices(counts, x, t)
    LiveMap(x, t).update(counts)
    few = slice(0, 40, 8)
    fit_images(np.tile(counts[:, None, few], (1, 9, 1)), x, x, t[few])
