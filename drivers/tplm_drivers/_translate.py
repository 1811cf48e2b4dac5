"""What vendor libraries raise, told in one sentence."""

import struct
from collections.abc import Iterator

from tplm_drivers.roles import DeviceError

_TIMEOUT = ("timeout", "timed out", "less than expected: 0 instead")
_LOST = (
    "broken pipe", "closed", "connection", "could not open", "disconnected", "lost",
    "no such file", "not open", "port is not", "read failed", "reset", "write failed",
)  # fmt: skip
_GARBLED = (
    "unexpected", "invalid", "parse", "decode", "malformed", "checksum", "crc error",
    "faulty escape", "wrong telegram", "bytes long", "less than expected",
)  # fmt: skip
_FROM_THE_WIRE = (OSError, EOFError, ValueError, LookupError, struct.error)


class told:  # noqa: N801 - reads as a statement where it is used
    """Turns what a library raises into a `DeviceError`; made once, it can be entered many times.

    A `DeviceError` passes as it is; anything not named by `exceptions` that does not come from
    the wire (`OSError`) or from reading a reply (`ValueError`, `LookupError`, `struct.error`)
    passes too: it is a fault of the program. A class, since it stands around every exchange:
    as a generator it would cost a tenth of a short one.

    Parameters
    ----------
    role
        Whose device.
    exceptions
        What the library raises.
    advice
        What to do when the instrument refused; the other cases have their own.
    timeout_s
        For the sentence about a device that does not answer.
    address
        Where it is connected, for the sentences about silence and a lost connection.
    """

    __slots__ = ("_about", "_translated")

    def __init__(
        self,
        role: str,
        *exceptions: type[BaseException],
        advice: str = "",
        timeout_s: float | None = None,
        address: str = "",
    ) -> None:
        self._about = (role, advice, timeout_s, address)
        self._translated = (*exceptions, *_FROM_THE_WIRE)

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        """Translate what was raised, if anything."""
        if error is None or isinstance(error, DeviceError):
            return
        if isinstance(error, self._translated):
            role, advice, timeout_s, address = self._about
            raise _as_device_error(role, error, advice, timeout_s, address) from error


def _as_device_error(
    role: str, error: BaseException, advice: str, timeout_s: float | None, address: str
) -> DeviceError:
    causes = list(_chain(error))
    # pylablib wraps what the serial port raised in a sentence of its own
    words = " ".join(str(getattr(error, "backend_exc", error)).split()) or type(error).__name__
    all_words = " ".join(f"{type(cause).__name__} {cause}" for cause in causes).lower()
    silent = any(isinstance(cause, TimeoutError) for cause in causes) or _any(_TIMEOUT, all_words)
    # an outright ConnectionError is a driver's own finding, often after a timeout
    if silent and not isinstance(error, ConnectionError):
        within = "in time" if timeout_s is None else f"within {timeout_s:g} s"
        return DeviceError(
            role,
            f"{address} does not answer {within}".strip(),
            "check that it is switched on and its cable",
        )
    if any(isinstance(cause, OSError | EOFError) for cause in causes) and _any(_LOST, all_words):
        return DeviceError(
            role,
            f"the connection to {address or 'the device'} was lost or could not be made ({words})",
            "check its cable and its address, then connect again",
        )
    # the last two come from libraries that meet a reply of another form than they expect
    garbled = isinstance(
        error, ValueError | LookupError | struct.error | AttributeError | TypeError
    )
    if garbled or _any(_GARBLED, all_words):
        return DeviceError(
            role, f"gave a reply that makes no sense ({words})", "try again; check its cable"
        )
    return DeviceError(role, f"refused: {words}", advice)


def _any(parts: tuple[str, ...], text: str) -> bool:
    return any(part in text for part in parts)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
