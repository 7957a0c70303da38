"""Meters: what reads energy, each with its provenance.

Here: sensors and vendors' tools, and the model for machines that have none. Not here: what is done with an energy
(`fabrique.core.energy`), grid feeds (`fabrique.grid`). Start with `protocol.py`, then `detect.py`.
"""

from fabrique.meters.detect import discover, present
from fabrique.meters.protocol import Availability, Device, Meter

__all__ = ["Availability", "Device", "Meter", "discover", "present"]
