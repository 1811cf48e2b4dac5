"""PyMeasure instruments over VISA: opening, one exchange at a time, and getting back in step."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

from pyvisa.constants import StatusCode
from pyvisa.errors import Error as VisaError
from pyvisa.errors import VisaIOError

from tplm_drivers._translate import told
from tplm_drivers.roles import DeviceError, RoleName

T = TypeVar("T")
_LOST = (
    StatusCode.error_connection_lost,
    StatusCode.error_invalid_object,
    StatusCode.error_io,
    StatusCode.error_resource_not_found,
)
QUIET_MS = 50
MAX_LATE = 20


class VisaLine(Generic[T]):
    """One PyMeasure instrument on its VISA resource.

    Parameters
    ----------
    role, resource, timeout_s
        Whose it is, where it is, and how long it may take to answer.
    make : callable
        Class of PyMeasure.
    library
        Which VISA: None takes the computer's own, ``@py`` PyVISA-py.
    reopens : bool
        Whether the connection may be made again after a failure; not for a laser.
    advice
        What to do when the instrument refuses.
    """

    def __init__(
        self,
        role: RoleName,
        resource: str,
        timeout_s: float,
        make: Callable[..., T],
        library: str | None = None,
        *,
        reopens: bool,
        advice: str = "",
    ) -> None:
        self.role = role
        self._resource = resource
        self._timeout_s = timeout_s
        self._make = make
        self._library = library or ""
        self._reopens = reopens
        self._advice = advice
        self._out_of_step = False
        self.instrument = self._open()

    @contextmanager
    def exchange(self) -> Iterator[T]:
        """The instrument, with whatever it raises told in one sentence.

        After a failure a late reply may still be under way; the next exchange first gets rid of it.
        """
        try:
            if self._out_of_step:
                self._get_in_step()
            with self._told():
                yield self.instrument
        except DeviceError:
            self._out_of_step = True
            raise

    def close(self) -> None:
        """Let go of the resource."""
        with suppress(VisaError, OSError):  # what is gone already needs no closing
            self._adapter.connection.close()

    @property
    def _adapter(self) -> Any:
        return self.instrument.adapter  # type: ignore[attr-defined]

    def _open(self) -> T:
        milliseconds = round(1e3 * self._timeout_s)
        # PyVISA-py raises a bare Exception if the host does not answer; PyMeasure warns that it
        # does not know whether some of its instruments speak SCPI: they do.
        with self._told(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return self._make(
                self._resource,
                visa_library=self._library,
                timeout=milliseconds,
                open_timeout=milliseconds,
                read_termination="\n",
                write_termination="\n",
            )

    def _get_in_step(self) -> None:
        with self._told():
            if self._reopens:
                self.close()
                self.instrument = self._open()
            elif self._is_closed():
                raise ConnectionError("closed by the other side")
            else:
                self._read_out()
        self._out_of_step = False

    def _read_out(self) -> None:
        """Throw away what is still coming; PyVISA-py's own flush never ends on a closed socket."""
        connection = self._adapter.connection
        connection.timeout = QUIET_MS
        try:
            for _ in range(MAX_LATE):
                connection.read_raw()
        except VisaIOError as error:
            if error.error_code != StatusCode.error_timeout:
                raise
        finally:
            connection.timeout = round(1e3 * self._timeout_s)

    @contextmanager
    def _told(self, *exceptions: type[Exception]) -> Iterator[None]:
        with told(
            self.role,
            VisaError,
            *exceptions,
            advice=self._advice,
            timeout_s=self._timeout_s,
            address=self._resource,
        ):
            try:
                yield
            except VisaIOError as error:
                if error.error_code in _LOST or self._is_closed():
                    raise ConnectionError("closed by the other side") from error
                raise

    def _is_closed(self) -> bool:
        """Whether the other side has hung up, which PyVISA-py tells only by a timeout.

        The first empty message to a closed socket is answered by a reset, on which the second
        fails; to an instrument that listens an empty message means nothing.
        """
        try:
            for _ in range(2):
                self._adapter.write("")
        except VisaIOError as error:
            return error.error_code in _LOST
        except OSError:
            return True
        except AttributeError:  # still opening: there is no adapter yet
            return False
        return False
