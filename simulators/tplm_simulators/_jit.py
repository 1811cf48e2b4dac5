"""numba's compiler with the project's choices, typed."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def jit(function: _F) -> _F:
    """Compile `function` on its first call and keep the result on disk.

    It runs without the interpreter lock, so that other threads go on meanwhile. The NumPy error
    model drops the check for division by zero, which would block SIMD.
    """
    return cast(_F, numba.njit(nogil=True, cache=True, error_model="numpy")(function))
