"""The part of a scan file that other programs read: NeXus groups, metadata, default plots."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tplm_config import InstrumentProfile, ScanPlan, to_toml
from tplm_daq.store.layout import DATA, FORMAT, PLAN, PROFILE, T_NS
from tplm_daq.wall import utc_now
from tplm_drivers import Identity

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class ScanHeader:
    """What is known of a scan before its first count.

    Attributes
    ----------
    plan : ScanPlan
        What is to be measured.
    time_bin_ps, bins, offset_ns
        The time axis of the histograms.
    profile : InstrumentProfile or None
        The instrument; None if the counts were imported.
    profile_problem : str
        Why the profile kept in a file is not usable by this version of the program; its counts
        are, but the scan cannot go on.
    simulated : bool
        Whether a virtual microscope stands behind the devices.
    identities : mapping of role to Identity
        Who the devices said they are.
    """

    plan: ScanPlan
    time_bin_ps: float
    bins: int
    offset_ns: float = 0.0
    profile: InstrumentProfile | None = None
    profile_problem: str = ""
    simulated: bool = False
    identities: Mapping[str, Identity] = field(default_factory=dict)
    created: str = field(default_factory=utc_now)
    software: str = field(default_factory=lambda: f"tplm-daq {version('tplm-daq')}")

    @property
    def t_ns(self) -> F64:
        """Centres of the time bins after the sync pulse, shape ``(bins,)``."""
        centres = np.arange(self.bins, dtype=np.float64) + 0.5
        return np.asarray(self.offset_ns + centres * (self.time_bin_ps * 1e-3))


def group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    """Create a group with its NeXus class."""
    made = parent.create_group(name)
    made.attrs["NX_class"] = nx_class
    return made


def write_header(file: h5py.File, header: ScanHeader) -> h5py.Group:
    """Write everything but the counts; returns the entry."""
    file.attrs["NX_class"] = "NXroot"
    file.attrs["default"] = "entry"
    file.attrs["creator"] = header.software
    file.attrs["format"] = FORMAT
    entry = group(file, "entry", "NXentry")
    entry.attrs["default"] = "data"
    entry["definition"] = "NXoptical_spectroscopy"
    entry["experiment_type"] = "photoluminescence"
    entry["experiment_sub_type"] = "time resolved"
    entry["title"] = header.plan.sample or f"TPLM {header.plan.kind} scan"
    entry["start_time"] = header.created
    entry["program_name"] = header.software
    entry["notes"] = header.plan.notes
    group(entry, "user", "NXuser")["name"] = header.plan.operator
    group(entry, "sample", "NXsample")["name"] = header.plan.sample
    configuration = group(entry, "configuration", "NXcollection")
    file[PLAN] = to_toml(header.plan)
    if header.profile is not None:
        file[PROFILE] = to_toml(header.profile)
    configuration.attrs["comment"] = "the plan and the profile as TOML, to measure this again"
    _write_instrument(entry, header)
    file[T_NS] = header.t_ns
    file[T_NS].attrs.update(
        {
            "units": "ns",
            "long_name": "time after sync (ns)",
            "time_bin_ps": header.time_bin_ps,
            "offset_ns": header.offset_ns,
        }
    )
    return entry


def _write_instrument(entry: h5py.Group, header: ScanHeader) -> None:
    instrument = group(entry, "instrument", "NXinstrument")
    instrument["name"] = header.profile.name if header.profile is not None else "imported"
    classes = {"laser": "NXsource", "card": "NXdetector", "attenuator": "NXattenuator"}
    instrument.attrs["simulated"] = header.simulated
    for role, identity in header.identities.items():
        device = group(instrument, role, classes.get(role, "NXpositioner"))
        device["model"] = identity.model
        device["serial_number"] = identity.serial_number
        device["firmware"] = identity.firmware
        device["checked_against"] = identity.checked_against


def write_data(
    file: h5py.File, signal: Any, axes: Mapping[str, Any], extra: Mapping[str, Any], title: str
) -> None:
    """Replace the default plot: an NXdata group with its signal and axes.

    Parameters
    ----------
    signal : ndarray or h5py.Dataset
        Counts; a dataset is linked, not copied.
    axes : mapping
        One entry for each dimension of the signal, in order.
    extra : mapping
        Further datasets beside them, such as exposures.
    """
    if DATA in file:
        del file[DATA]
    data = group(file["entry"], "data", "NXdata")
    data.attrs["signal"] = "counts"
    data.attrs["axes"] = list(axes)
    data["title"] = title
    if isinstance(signal, h5py.Dataset):
        data["counts"] = signal
    else:
        data.create_dataset("counts", data=signal, compression="gzip", shuffle=True)
        data["counts"].attrs["long_name"] = "photons"
    for i, (name, values) in enumerate(axes.items()):
        data.attrs[f"{name}_indices"] = i
        data[name] = values
        if not isinstance(values, h5py.Dataset):
            data[name].attrs["units"] = name.rsplit("_", 1)[-1]
    for name, values in extra.items():
        data[name] = values
        if not name.startswith("counts"):
            data[name].attrs["units"] = name.rsplit("_", 1)[-1]


def read_header(file: h5py.File) -> dict[str, Any]:
    """Plain metadata of a scan file, as written by `write_header`."""
    entry = file["entry"]
    instrument = entry["instrument"]

    def text(node: h5py.Dataset) -> str:
        return str(node.asstr()[()])

    return {
        "software": str(file.attrs["creator"]),
        "created": text(entry["start_time"]),
        "plan": text(file[PLAN]),
        "profile": text(file[PROFILE]) if PROFILE in file else None,
        "simulated": bool(instrument.attrs.get("simulated", False)),
        "time_bin_ps": float(file[T_NS].attrs["time_bin_ps"]),
        "offset_ns": float(file[T_NS].attrs["offset_ns"]),
        "identities": {
            role: Identity(
                text(node["model"]),
                text(node["serial_number"]),
                text(node["firmware"]),
                text(node["checked_against"]),
            )
            for role, node in instrument.items()
            if isinstance(node, h5py.Group)
        },
    }
