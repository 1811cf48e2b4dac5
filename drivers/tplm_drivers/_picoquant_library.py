"""A vendor's library of a PicoQuant card family: found, loaded, called, its errors told."""

import os
import sys
import threading
from contextlib import suppress
from ctypes import (
    CDLL,
    byref,
    c_double,
    c_int,
    create_string_buffer,
)
from pathlib import Path
from typing import Any

from tplm_config.devices import PicoQuant
from tplm_drivers._picoquant_families import FAMILIES, MEANINGS, Family
from tplm_drivers.roles import DeviceError


class LibraryError(DeviceError):
    """The library returned an error.

    Attributes
    ----------
    code : int
        The vendor's number, below 0.
    """

    def __init__(self, role: str, happened: str, advice: str, code: int) -> None:
        self.code = code
        super().__init__(role, happened, advice)


class Library:
    """The vendor's library: every call is checked, every error becomes a sentence.

    One call at a time, whichever thread asks: the vendor allows no two at once to one device.

    Parameters
    ----------
    role : str
        Role of the card.
    family : Family
        Which signatures it has.
    handle : object
        The loaded library.

    Raises
    ------
    DeviceError
        If it is too old or too new to have all functions.
    """

    def __init__(self, role: str, family: Family, handle: Any) -> None:
        self.role = role
        self.family = family
        self._handle = handle  # its functions live no longer than it does
        self._functions: dict[str, Any] = {}
        self._lock = threading.Lock()
        for name, arguments in family.signatures.items():
            try:
                function = getattr(handle, family.prefix + name)
            except AttributeError as error:
                raise DeviceError(
                    role,
                    f"the library of the {family.name} has no function {family.prefix}{name}",
                    f"install {family.needs} or newer",
                ) from error
            function.argtypes = arguments
            function.restype = c_int
            self._functions[name] = function

    def has(self, name: str) -> bool:
        """Whether the family has a function."""
        return name in self._functions

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; arguments that only some families have come last and are 0."""
        function = self._functions[name]
        missing = len(function.argtypes) - len(arguments)
        try:
            with self._lock:
                code = function(*arguments, *(0,) * missing) if missing else function(*arguments)
                if code < 0:
                    raise self._error(name, code)
        except OSError as error:  # how ctypes tells, on Windows, that the code inside crashed
            raise DeviceError(
                self.role, f"the vendor's library crashed ({error})", "start the program again"
            ) from error

    def integer(self, name: str, *arguments: Any) -> int:
        """The integer that a function gives as its last argument."""
        value = c_int()
        self.call(name, *arguments, byref(value))
        return value.value

    def real(self, name: str, *arguments: Any) -> float:
        """The number that a function gives as its last argument."""
        value = c_double()
        self.call(name, *arguments, byref(value))
        return value.value

    def texts(self, name: str, *arguments: Any, number: int = 1) -> tuple[str, ...]:
        """The texts that a function gives as its last arguments."""
        buffers = [create_string_buffer(64) for _ in range(number)]
        self.call(name, *arguments, *buffers)
        return tuple(buffer.value.decode("latin-1").strip() for buffer in buffers)

    def close(self, index: int) -> None:
        """Let go of a device; it may be gone, so no error is told."""
        with suppress(OSError), self._lock:
            self._functions["CloseDevice"](index)

    def _error(self, name: str, code: int) -> LibraryError:
        buffer = create_string_buffer(256)
        known = self._functions["GetErrorString"](buffer, code) >= 0
        words = " ".join(buffer.value.decode("latin-1").split()) if known else ""
        meaning, advice = MEANINGS.get(
            code, ("the card failed", "switch it off and on, connect again, or ask PicoQuant")
        )
        where = f"{self.family.prefix}{name}: {words or 'unknown error'}, {code}"
        return LibraryError(self.role, f"{meaning} ({where})", advice, code)


def bind(role: str, settings: PicoQuant, library: Any) -> Library:
    family = FAMILIES[settings.family]
    return Library(
        role, family, _load(role, family, settings.library) if library is None else library
    )


def _load(role: str, family: Family, path: str | None) -> CDLL:
    """Load the vendor's library from its path, or from where the vendor's installer puts it."""
    if path is not None:
        try:
            return CDLL(path)
        except OSError as error:
            raise DeviceError(
                role,
                f"the library {path} cannot be loaded ({error})",
                f"card.driver.library must be the 64-bit library of {family.needs}",
            ) from error
    tried = []
    for place in _places(family):
        try:
            return CDLL(place)
        except OSError:
            tried.append(place)
    raise DeviceError(
        role,
        f"the library of the {family.name} was not found (tried {', '.join(tried)})",
        f"install {family.needs} or newer from PicoQuant, or set card.driver.library to its path",
    )


def _places(family: Family) -> list[str]:
    """Names and paths under which the library may be installed, likeliest first."""
    if sys.platform == "win32":
        programs = Path(os.environ.get("PROGRAMFILES", "C:/Program Files")) / "PicoQuant"
        return [family.windows, *(str(path) for path in sorted(programs.rglob(family.windows)))]
    folder, name = family.linux
    return [
        f"lib{folder}.so", name,
        f"/usr/local/lib64/{folder}/{name}", f"/usr/local/lib/{folder}/{name}",
    ]  # fmt: skip
