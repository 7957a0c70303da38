"""Intel GPUs: the kernel's energy counter (hwmon of i915 or xe), else samples of power by `xpu-smi`.

Untested on hardware; written from the kernel's ABI pages of the two drivers' hwmon and from Intel's of `xpu-smi dump`.
`energy1_input` is the card's energy in microjoules. Its register has 32 bits; the driver follows one wrap between two
reads, so it wants to be read every few minutes. Level Zero's own `zesPowerGetEnergyCounter` reads the same register.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from fabrique.core.energy import Provenance, measured
from fabrique.core.readings import Limits, Reading, value_or_unknown
from fabrique.meters import sysfs
from fabrique.meters.command import NoAnswerError, ask, milliwatts
from fabrique.meters.kinds import kind_of_name
from fabrique.meters.protocol import Availability, Device

HWMON: Final = Path("/sys/class/hwmon")
_DRIVERS: Final = frozenset({"i915", "xe"})  # "i915_gt0" and the like are parts of a card already counted
_PCI_NAMES: Final = {"0x0bd5": "Intel(R) Data Center GPU Max 1550"}
_ANY_CARD_W: Final = 1_200
_MOST_DEVICES: Final = 64


class LevelZeroMeter:
    name = "levelzero"

    def __init__(self, root: Path = HWMON, command: str = "xpu-smi") -> None:
        self.provenance: Provenance = measured("hwmon energy1_input")
        self._sampled: Provenance = measured("xpu-smi GPU power, sampled")
        self._root = root
        # One sample of metric 1, GPU power in watts, of every device.
        self._question = (command, "dump", "-d", "-1", "-m", "1", "-n", "1")

    def available(self) -> Availability:
        if self._cards():
            return Availability(True)
        try:
            rows = parse(ask(self._question))
        except NoAnswerError as error:
            return Availability(False, f"no counter of i915 or xe under {self._root}, and {error}")
        return Availability(True) if rows else Availability(False, "xpu-smi shows no device")

    def devices(self) -> list[Device]:
        cards = self._cards()
        if cards:
            return [_card(card) for card in cards]
        limits = Limits(most_w=_ANY_CARD_W)
        return [Device(_sampled_source(i), "intel", "Intel GPU", None, False, limits) for i in self._powers()]

    def read(self, now_ms: int) -> list[Reading]:
        cards = self._cards()
        if cards:
            return [self._count(card, now_ms) for card in cards]
        return [
            Reading(_sampled_source(i), now_ms, self._sampled, power_mw=power) for i, power in self._powers().items()
        ]

    def _cards(self) -> list[Path]:
        """The hwmon folders of whole cards that hold an energy counter we may read."""
        try:
            folders = sorted(self._root.iterdir())
        except OSError:
            return []
        cards = [folder for folder in folders if sysfs.text(folder / "name") in _DRIVERS]
        return [card for card in cards if sysfs.whole_number(card / "energy1_input") is not None]

    def _count(self, card: Path, now_ms: int) -> Reading:
        counter_uj = value_or_unknown(sysfs.whole_number(card / "energy1_input"))
        return Reading(
            _source(card), now_ms, self.provenance, counter_mj=None if counter_uj is None else counter_uj // 1000
        )

    def _powers(self) -> dict[str, int | None]:
        try:
            return parse(ask(self._question))
        except NoAnswerError:
            return {}


def parse(answer: str) -> dict[str, int | None]:
    """Device id -> mW, of `Timestamp, DeviceId, GPU Power (W)` and its rows; other lines are left out."""
    rows = [[c.strip() for c in cells] for cells in csv.reader(answer.splitlines())]
    powers = {row[1]: milliwatts(row[2]) for row in rows if len(row) == 3 and row[1].isdigit() and len(row[1]) < 4}
    return dict(list(powers.items())[:_MOST_DEVICES])


def _card(card: Path) -> Device:
    pci = sysfs.text(card / "device" / "device") or ""
    name = _PCI_NAMES.get(pci, f"Intel GPU {pci}".strip())
    most_uw = sysfs.whole_number(card / "power1_rated_max")
    return Device(
        source=_source(card),
        vendor="intel",
        name=name,
        kind=kind_of_name(name),
        counts=True,
        limits=Limits(most_w=most_uw * 3 // 2_000_000 if most_uw else _ANY_CARD_W),
        most_w=most_uw // 1_000_000 if most_uw else None,
    )


def _source(card: Path) -> str:
    """The card's PCI address, which outlives a restart where hwmon's numbers do not."""
    device = card / "device"
    return f"pci:{device.resolve().name}" if device.is_symlink() else card.name


def _sampled_source(index: str) -> str:
    return f"xpu-smi:{index}"
