"""Intel Gaudi through `hl-smi`: samples of power (untested on hardware; written from Intel's documentation of hl-smi).

The tool has no energy counter: power is sampled, and samples too far apart leave a gap.
"""

from __future__ import annotations

import csv
from typing import Final, NamedTuple

from fabrique.core.energy import Provenance, measured
from fabrique.core.readings import Limits, Reading
from fabrique.meters.command import NoAnswerError, ask, milliwatts
from fabrique.meters.kinds import kind_of_name
from fabrique.meters.protocol import Availability, Device

# Above the 900 W of a Gaudi 3, with room for an instant over the limit.
_MOST_W: Final = 1_350
_MOST_DEVICES: Final = 64


class Row(NamedTuple):
    uuid: str
    name: str
    power_mw: int | None


class HabanaMeter:
    name = "habana"

    def __init__(self, command: str = "hl-smi") -> None:
        self.provenance: Provenance = measured("hl-smi power.draw, sampled")
        self._question = (command, "--query-aip=uuid,name,power.draw", "--format=csv,noheader,nounits")

    def available(self) -> Availability:
        try:
            rows = parse(ask(self._question))
        except NoAnswerError as error:
            return Availability(False, str(error))
        return Availability(True) if rows else Availability(False, "hl-smi shows no device")

    def devices(self) -> list[Device]:
        limits = Limits(most_w=_MOST_W)
        return [Device(r.uuid, "intel", r.name, kind_of_name(r.name), False, limits) for r in self._rows()]

    def read(self, now_ms: int) -> list[Reading]:
        return [Reading(r.uuid, now_ms, self.provenance, power_mw=r.power_mw) for r in self._rows()]

    def _rows(self) -> list[Row]:
        try:
            return parse(ask(self._question))
        except NoAnswerError:
            return []


def parse(answer: str) -> list[Row]:
    """Rows `uuid, name, power`; lines of another shape (warnings, a header) are left out."""
    rows: list[Row] = []
    for cells in csv.reader(answer.splitlines()):
        uuid, name, power = ([c.strip() for c in cells] + ["", "", ""])[:3]
        if len(cells) == 3 and name.startswith("HL-") and uuid:
            rows.append(Row(uuid[:64], name[:64], milliwatts(power)))
    return rows[:_MOST_DEVICES]
