"""The host: one process owns the instruments, others watch it and ask; see ``docs/host.md``."""

from tplm_daq.host.client import HostClient
from tplm_daq.host.entries import HostEntry, find_hosts, pick_host
from tplm_daq.host.host import Host

__all__ = ["Host", "HostClient", "HostEntry", "find_hosts", "pick_host"]
