"""What a virtual device does when it refuses or is broken."""


class VirtualFault(Exception):  # noqa: N818 - a fault of the device, not of the program
    """A virtual device refused a command or did not answer.

    Parameters
    ----------
    device
        Name of the device, as the operator knows it.
    message
        What it has to say, as the end of a sentence that begins with the name.
    """

    def __init__(self, device: str, message: str) -> None:
        super().__init__(f"{device} {message}")
        self.device = device
        self.message = message
