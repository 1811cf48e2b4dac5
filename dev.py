#!/usr/bin/env python3
"""Set up a checkout and use it: ``python3 dev.py demo`` or ``python3 dev.py test``.

Makes ``.venv``, installs the project with everything it can use (versions pinned by
``constraints.txt``), checks the system libraries Qt needs, then runs ``tplm demo`` or the test
suite; further arguments go through. Standard library only; Python 3.11 or newer.
"""

import ctypes.util
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
STAMP = VENV / "tplm-installed"
WINDOWS = os.name == "nt"
PYTHON = VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")
# library that Qt opens when it starts -> Debian package that brings it
QT_LIBRARIES = {
    "GL": "libgl1",
    "EGL": "libegl1",
    "xkbcommon": "libxkbcommon0",
    "fontconfig": "libfontconfig1",
    "dbus-1": "libdbus-1-3",
    "glib-2.0": "libglib2.0-0",
    "xcb-cursor": "libxcb-cursor0",
    "xcb-icccm": "libxcb-icccm4",
    "xcb-image": "libxcb-image0",
    "xcb-keysyms": "libxcb-keysyms1",
    "xcb-randr": "libxcb-randr0",
    "xcb-render-util": "libxcb-render-util0",
    "xcb-shape": "libxcb-shape0",
    "xcb-xinerama": "libxcb-xinerama0",
    "xkbcommon-x11": "libxkbcommon-x11-0",
}


def main(arguments: list[str]) -> int:
    """Run one of the two commands."""
    if sys.version_info < (3, 11):
        found = ".".join(map(str, sys.version_info[:2]))
        print(f"dev.py: Python 3.11 or newer is needed; this is {found}", file=sys.stderr)
        return 2
    if not arguments or arguments[0] not in ("demo", "test"):
        print("usage: python3 dev.py demo|test [further arguments]", file=sys.stderr)
        return 2
    try:
        set_up()
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd))
        print(f"dev.py: this step failed, see above: {command}", file=sys.stderr)
        return 1
    command, *rest = arguments
    if command == "demo":
        return subprocess.call([PYTHON, "-m", "tplm_daq", "demo", *rest])
    return subprocess.call([PYTHON, "-m", "pytest", *rest], cwd=HERE)


def set_up() -> None:
    """Make the environment, unless what it was made from has not changed."""
    if STAMP.is_file() and PYTHON.is_file() and STAMP.read_text(encoding="utf-8") == fingerprint():
        return
    check_qt_libraries()
    if not PYTHON.is_file():
        say("making .venv")
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.check_call([sys.executable, "-m", "venv", VENV])
    say("installing (the first time takes a minute or two)")
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    constraints = ["--constraint", HERE / "constraints.txt"]
    subprocess.check_call([*pip, *constraints, "--editable", f"{HERE}[all,dev]"])
    STAMP.write_text(fingerprint(), encoding="utf-8")


def fingerprint() -> str:
    """What the environment depends on."""
    parts = [str(HERE).encode(), sys.version.encode()]
    parts += [(HERE / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def check_qt_libraries() -> None:
    """See to the system libraries of the window; everything else works without them."""
    if not sys.platform.startswith("linux"):
        return
    missing = [
        package for name, package in QT_LIBRARIES.items() if ctypes.util.find_library(name) is None
    ]
    if not missing:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing system libraries: {' '.join(missing)}")
        quiet = {"stdout": subprocess.DEVNULL}
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.call(["apt-get", "update"], env=environment, **quiet)
        if subprocess.call(install, env=environment, **quiet) == 0:
            return
    say(f"the window needs system libraries; to install them run: sudo {' '.join(install)}")


def say(text: str) -> None:
    """Tell what is going on."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
