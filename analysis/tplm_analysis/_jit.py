"""The one door to numba: compiled, cached, and still typed for the checker."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])

# Reordering sums is exact enough here; infinities and NaN keep their meaning.
_FAST = {"contract", "reassoc", "arcp", "nsz"}


def jit(fn: F) -> F:
    """Compile a kernel on its first call and keep the machine code on disk.

    ``error_model="numpy"`` leaves out the zero-division checks that stop the compiler from
    vectorising; ``nogil`` lets a live display fit in a background thread.

    Parameters
    ----------
    fn
        A function of numpy arrays and numbers, in the subset numba compiles.

    Returns
    -------
    callable
        The compiled function, with the signature of `fn`.
    """
    return cast("F", numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)(fn))
