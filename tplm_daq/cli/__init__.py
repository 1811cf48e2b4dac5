"""The command line; see ``tplm --help``."""

from tplm_daq.cli.main import main

__all__ = ["main"]
