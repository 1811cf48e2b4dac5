"""An attocube ANC350 with read-back, as a back end of PyUSB.

The library is the real pylablib over the real PyUSB; what PyUSB would hand to libusb comes here.
Telegrams are little-endian 32-bit words: length of the rest, opcode, address, index (the axis),
correlation number, data. Writes without a correlation number get no answer. Addresses, opcodes
and the telegrams that a controller sends by itself (TELL) are those which pylablib's source uses;
no other description of the protocol was at hand.
"""

import errno
import itertools
import struct
import threading
import time
from array import array
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Literal

import usb.backend
import usb.core

from tplm_config.devices import Anc350Stage
from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.wire import Served, WireFault
from tplm_simulators.wire._axes import Axes

VENDOR, PRODUCT = 0x16C0, 0x055B
READ_ENDPOINT, WRITE_ENDPOINT = 0x86, 0x02
SET, GET, ACK, TELL = 0, 1, 3, 4
OK, INVALID_ADDRESS, OUT_OF_RANGE = 0, 1, 2

TELL_PERIOD_S = 0.02
"""Between two telegrams that the controller sends by itself, until it is told not to; real time."""

POSITION, TARGET, GO, STOP = 0x0415, 0x0408, 0x040D, 0x040E
STATUS, CONNECTED, ENABLED, MOVING = 0x0404, 0x3002, 0x3030, 0x302E
PRECISION, REACHED, FORWARD_END, BACKWARD_END = 0x3036, 0x3037, 0x3039, 0x303A
SYNC, UPDATES, HARDWARE_ID = 0x000A, 0x0145, 0x0168
RUNNING, AT_LIMIT, REFERENCE_VALID = 0x1, 0x2, 0x800
BUS = {
    "bLength": 18, "bDescriptorType": 1, "bcdUSB": 0x200, "bDeviceClass": 0xFF,
    "bDeviceSubClass": 0, "bDeviceProtocol": 0, "bMaxPacketSize0": 64, "idVendor": VENDOR,
    "idProduct": PRODUCT, "bcdDevice": 0x100, "iManufacturer": 0, "iProduct": 0,
    "iSerialNumber": 0, "bNumConfigurations": 1, "address": 1, "bus": 1, "port_number": 1,
    "port_numbers": (1,), "speed": 3,
}  # fmt: skip
CONFIGURATION = {
    "bLength": 9, "bDescriptorType": 2, "wTotalLength": 32, "bNumInterfaces": 1,
    "bConfigurationValue": 1, "iConfiguration": 0, "bmAttributes": 0x80, "bMaxPower": 50,
    "extra_descriptors": [],
}  # fmt: skip
INTERFACE = {
    "bLength": 9, "bDescriptorType": 4, "bInterfaceNumber": 0, "bAlternateSetting": 0,
    "bNumEndpoints": 2, "bInterfaceClass": 0xFF, "bInterfaceSubClass": 0,
    "bInterfaceProtocol": 0, "iInterface": 0, "extra_descriptors": [],
}  # fmt: skip
ENDPOINT = {
    "bLength": 7, "bDescriptorType": 5, "bmAttributes": 2, "wMaxPacketSize": 512, "bInterval": 0,
    "bRefresh": 0, "bSynchAddress": 0, "extra_descriptors": [],
}  # fmt: skip


class Controller:
    """What the addresses mean.

    Parameters
    ----------
    axes
        The virtual stage, whose axis 0 is the controller's axis 0.
    numbers
        The controller's number of each axis of the stage.

    Attributes
    ----------
    connected
        Axes with a positioner on their cable.
    tells
        Whether it sends values by itself.
    """

    def __init__(self, axes: Axes, numbers: tuple[int, ...]) -> None:
        self._axes = axes
        self._stage_axis = {number: n for n, number in enumerate(numbers)}
        self._targets_nm = dict.fromkeys(numbers, 0)
        self._asked_nm = dict.fromkeys(numbers, 0)
        self._precision_nm = dict.fromkeys(numbers, 1000)
        self._enabled = dict.fromkeys(numbers, False)
        self.connected = set(numbers)
        self.tells = True

    def get(self, address: int, index: int) -> tuple[int, int]:
        """Reason and value of a question."""
        if address == HARDWARE_ID:
            return OK, -1
        if index not in self._stage_axis:
            return INVALID_ADDRESS, 0
        value = self._of_axis(address, index)
        return (INVALID_ADDRESS, 0) if value is None else (OK, value)

    def set(self, address: int, index: int, value: int) -> int:
        """Reason after a command."""
        if address == UPDATES:
            self.tells = value != 0
        if address in (SYNC, UPDATES):
            return OK
        if index not in self._stage_axis:
            return INVALID_ADDRESS
        match address:
            case 0x0408:
                self._targets_nm[index] = value
            case 0x040D:
                return self._start(index)
            case 0x040E:
                self._axes.stop(self._stage_axis[index])
                self._asked_nm[index] = self._position_nm(index)
            case 0x3036:
                if value <= 0:
                    return OUT_OF_RANGE
                self._precision_nm[index] = value
            case 0x3030:
                self._enabled[index] = value != 0
            case _:
                return INVALID_ADDRESS
        return OK

    def _of_axis(self, address: int, index: int) -> int | None:
        lower_um, upper_um = self._axes.limits_um
        place_nm = self._position_nm(index)
        running = self._axes.is_moving(self._stage_axis[index])
        forward, backward = place_nm >= round(upper_um * 1e3), place_nm <= round(lower_um * 1e3)
        reached = abs(place_nm - self._asked_nm[index]) <= self._precision_nm[index]
        values = {
            POSITION: place_nm,
            TARGET: self._targets_nm[index],
            CONNECTED: int(index in self.connected),
            ENABLED: int(self._enabled[index]),
            MOVING: int(running or not reached),
            PRECISION: self._precision_nm[index],
            REACHED: int(reached),
            FORWARD_END: int(forward),
            BACKWARD_END: int(backward),
            STATUS: RUNNING * running | AT_LIMIT * (forward or backward) | REFERENCE_VALID,
        }
        return values.get(address)

    def _position_nm(self, index: int) -> int:
        return round(self._axes.position_um(self._stage_axis[index]) * 1e3)

    def _start(self, index: int) -> int:
        self._asked_nm[index] = self._targets_nm[index]
        if self._enabled[index]:
            lower_um, upper_um = self._axes.limits_um
            place_um = min(max(self._asked_nm[index] / 1e3, lower_um), upper_um)
            self._axes.move({self._stage_axis[index]: place_um})
        return OK


class UsbBackend(usb.backend.IBackend):  # type: ignore[misc] # PyUSB has no types
    """A USB with one controller on it, in the place of libusb.

    Parameters
    ----------
    controller
        What is plugged in.
    index
        How many others of the kind come before it; they answer nothing.

    Attributes
    ----------
    log
        Bytes received (``<``) and sent (``>``), in order.
    """

    def __init__(self, controller: Controller, index: int = 0) -> None:
        super().__init__()
        self.log: list[tuple[Literal["<", ">"], bytes]] = []
        self.controller = controller
        self._index = index
        self._faults: deque[WireFault] = deque()
        self._handles = itertools.count(1)
        self._open: set[int] = set()
        self._pending: deque[tuple[float, bytes]] = deque()
        self._lock = threading.Lock()
        self._plugged = True
        self._next_tell_s = 0.0

    def fail(self, fault: WireFault) -> None:
        """Let replies go wrong from the next one on."""
        with self._lock:
            self._faults.extend([fault] * (fault.replies or 1_000_000))

    def drop(self) -> None:
        """Break every connection, as when the cable is pulled and put back."""
        with self._lock:
            self._open.clear()
            self._pending.clear()

    def stop(self) -> None:
        """Pull the cable for good."""
        self._plugged = False
        self.drop()

    def get_backend(self) -> "UsbBackend":
        """What PyUSB's own back ends are asked for."""
        return self

    def enumerate_devices(self) -> Iterator[int]:
        """Every device there is."""
        return iter(range(self._index + 1) if self._plugged else ())

    def get_device_descriptor(self, dev: int) -> SimpleNamespace:
        """Who a device is."""
        return SimpleNamespace(**BUS)

    def get_configuration_descriptor(self, dev: int, config: int) -> SimpleNamespace:
        """Its only configuration."""
        if config:
            raise IndexError(config)
        return SimpleNamespace(**CONFIGURATION)

    def get_interface_descriptor(
        self, dev: int, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        """Its only interface."""
        if intf or alt or config:
            raise IndexError(intf)
        return SimpleNamespace(**INTERFACE)

    def get_endpoint_descriptor(
        self, dev: int, ep: int, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        """Its two endpoints."""
        address = (WRITE_ENDPOINT, READ_ENDPOINT)[ep]
        return SimpleNamespace(bEndpointAddress=address, **ENDPOINT)

    def open_device(self, dev: int) -> int:
        """A new handle; the controller begins to tell its values by itself."""
        with self._lock:
            handle = next(self._handles)
            self._open.add(handle)
            self._pending.clear()
            self.controller.tells = True
        return handle

    def close_device(self, dev_handle: int) -> None:
        """Forget a handle."""
        self._open.discard(dev_handle)

    def get_configuration(self, dev_handle: int) -> int:
        """The configuration in use."""
        self._check(dev_handle)
        return 1

    def claim_interface(self, dev_handle: int, intf: int) -> None:
        """Nobody else wants it."""
        self._check(dev_handle)

    def release_interface(self, dev_handle: int, intf: int) -> None:
        """Nobody else wants it."""
        self._check(dev_handle)

    def bulk_write(
        self, dev_handle: int, ep: int, intf: int, data: "array[int]", timeout: int
    ) -> int:
        """Take a telegram and keep its answer for the next reading."""
        self._check(dev_handle)
        telegram = data.tobytes()
        self.log.append(("<", telegram))
        reply = self._answer(telegram)
        if reply is not None:
            self._send(reply)
        return len(telegram)

    def bulk_read(
        self, dev_handle: int, ep: int, intf: int, buff: "array[int]", timeout: int
    ) -> int:
        """Give the next telegram, or time out."""
        end_s = time.monotonic() + timeout / 1e3
        while True:
            self._check(dev_handle)
            self._tell()
            with self._lock:
                if self._pending and self._pending[0][0] <= time.monotonic():
                    _, telegram = self._pending.popleft()
                    break
            if time.monotonic() >= end_s:
                raise usb.core.USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
            time.sleep(1e-3)
        self.log.append((">", telegram))
        buff[: len(telegram)] = array(buff.typecode, telegram)
        return len(telegram)

    def _tell(self) -> None:
        now_s = time.monotonic()
        if self.controller.tells and now_s >= self._next_tell_s:
            self._next_tell_s = now_s + TELL_PERIOD_S
            self._pending.append((now_s, _telegram(TELL, POSITION, 0, 0, bytes(4))))

    def _check(self, handle: int) -> None:
        if handle not in self._open:
            raise usb.core.USBError(
                "No such device (it may have been disconnected)", -4, errno.ENODEV
            )

    def _answer(self, telegram: bytes) -> bytes | None:
        length, opcode, address, index, correlation = struct.unpack_from("<5I", telegram)
        data = telegram[20 : length + 4]
        try:
            if opcode == GET:
                reason, value = self.controller.get(address, index)
            else:
                (value,) = struct.unpack("<i", data)
                reason = self.controller.set(address, index, value)
        except VirtualFault:
            return None
        if not correlation:
            return None
        return _telegram(ACK, address, index, correlation, struct.pack("<Ii", reason, value))

    def _send(self, reply: bytes) -> None:
        with self._lock:
            fault = self._faults.popleft() if self._faults else None
        due_s = 0.0
        match fault:
            case WireFault(kind="garbled"):
                reply = bytes(byte ^ 0x2A for byte in reply)
            case WireFault(kind="truncated"):
                reply = reply[: len(reply) // 2]
            case WireFault(kind="late"):
                due_s = time.monotonic() + fault.delay_s
            case WireFault(kind="silent"):
                return
            case WireFault(kind="dropped"):
                self.drop()
                return
        with self._lock:
            self._pending.append((due_s, reply))


def _telegram(opcode: int, address: int, index: int, correlation: int, data: bytes) -> bytes:
    return struct.pack("<5I", 16 + len(data), opcode, address, index, correlation) + data


def serve(settings: Anc350Stage, microscope: VirtualMicroscope, role: str) -> Served:
    """Plug the controller into a USB of its own."""
    numbers = (settings.x_axis, settings.y_axis, settings.z_axis)
    backend = UsbBackend(Controller(Axes(microscope, role), numbers), settings.index)
    return Served(settings, backend.stop, library=backend)
