"""numba's compiler with the project's choices, typed."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def jit(function: _F) -> _F:
    """Compile `function` on its first call and keep the result on disk.

    The NumPy error model drops the check for division by zero, which would block SIMD.
    """
    return cast(_F, numba.njit(cache=True, error_model="numpy")(function))
