"""Devices that are not here: what is published of them."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path

from pydantic import TypeAdapter

from reid.bench.costs.record import Roofline
from reid.bench.records import Positive, Record
from reid.runtime.errors import ReidError
from reid.runtime.precision import Precision

__all__ = ["Device", "find_known_device", "known_devices"]

_FILE = Path(__file__).with_name("devices.json")


class Device(Record):
    """A device, as published: dense peaks, of a Jetson's GPU alone, in its highest power mode unless the title says so.

    Attributes:
        name: its name for commands: "orin-nx".
        title: its name for people.
        chip: the GPU's chip; devices with the same chip tell the same of it.
        tera_operations_per_s: its peaks in 10^12 operations per second, by precision; FP32 is without TF32, which our
            engines do without, too; without a precision that no peak is published for.
        gigabytes_per_s: the bandwidth of its memory.
        watts: the power that it is built for.
        source: the document, and what was computed from it.
    """

    name: str
    title: str
    chip: str
    tera_operations_per_s: dict[Precision, Positive]
    gigabytes_per_s: Positive
    watts: Positive
    source: str

    @property
    def roofline(self) -> Roofline:
        """Its published peaks."""
        operations = {precision: 1e12 * peak for precision, peak in self.tera_operations_per_s.items()}
        return Roofline(operations_per_s=operations, bytes_per_s=1e9 * self.gigabytes_per_s, source=self.source)


@functools.cache
def known_devices() -> dict[str, Device]:
    """Return the devices, by name: Jetsons first, then cards."""
    devices = TypeAdapter(tuple[Device, ...]).validate_json(_FILE.read_bytes())
    return {device.name: device for device in devices}


def find_known_device(name: str) -> Device:
    """Return the device of a name.

    Raises:
        ReidError: there is none.
    """
    devices = known_devices()
    if name in devices:
        return devices[name]
    close = difflib.get_close_matches(name, devices, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise ReidError(f"no device {name!r} is known; {meant}Known are: {', '.join(devices)}")
