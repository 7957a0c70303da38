"""The parameters of generated work, each with its value, where it comes from, and whether anyone measured it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from fabrique.core.errors import FabriqueError
from fabrique.definitions import catalogues
from fabrique.definitions.complaints import printable

WORKLOADS: Final = catalogues.DATA / "workloads"
V = TypeVar("V")
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,60}$")]
Share = Annotated[int, Field(ge=0, le=1_000_000)]  # parts per million of the jobs
Permille = Annotated[int, Field(ge=0, le=1_000)]
Weight = Annotated[float, Field(ge=0, le=1_000_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sourced(_Strict, Generic[V]):
    """A value and its provenance: `measured` (on what), `published` (by whom) or an `assumption` (why)."""

    value: V
    status: Literal["measured", "published", "assumption"]
    source: Annotated[str, Field(min_length=3)]


class Size(_Strict):
    """Jobs of so many thousandths of a device."""

    milli_devices: Annotated[int, Field(ge=1, le=1_000_000_000)]
    share: Share


class Pool(_Strict):
    name: Name
    share: Share


class Runs(_Strict):
    """Log-normal runs: their median, and sigma of the natural logarithm; `growth`: × devices to this power."""

    median_s: Annotated[int, Field(ge=1, le=10_000_000)]
    sigma: Annotated[float, Field(ge=0, le=5)]
    growth: Annotated[float, Field(ge=0, le=1)]
    least_s: Annotated[int, Field(ge=1)]
    most_s: Annotated[int, Field(ge=1, le=100_000_000)]


class Estimates(_Strict):
    """Walltimes: run × (1 + an exponential of mean `over`), rounded up to `step_s`; no more than `most_s`."""

    over: Annotated[float, Field(ge=0, le=100)]
    step_s: Annotated[int, Field(ge=1, le=86_400)]
    most_s: Annotated[int, Field(ge=1, le=100_000_000)]


class WorkClass(_Strict):
    """One class of work: its share of the jobs, and what its owners consent to, in permille of them."""

    name: Name
    share: Share
    flexible: Permille
    preemptible: Permille
    tolerant: Permille
    tolerance_permille: Annotated[int, Field(ge=0, le=10_000)]


class Slack(_Strict):
    """How long flexible jobs may be put off: evenly between the two, in whole minutes."""

    least_min: Annotated[int, Field(ge=0)]
    most_min: Annotated[int, Field(ge=0, le=100_000)]


class Projects(_Strict):
    """How many, and the exponent of Zipf's law by which they share the jobs (0: evenly)."""

    count: Annotated[int, Field(ge=1, le=100_000)]
    zipf: Annotated[float, Field(ge=0, le=5)]


class Workload(_Strict):
    """All that `generate` needs, but for the seed."""

    id: Name
    about: str
    jobs: Annotated[int, Field(ge=1, le=10_000_000)]
    days: Annotated[int, Field(ge=1, le=3_660)]
    begins: date  # midnight UTC
    node_devices: Annotated[int, Field(ge=1, le=1_000)]
    hour_of_day: Sourced[Annotated[tuple[Weight, ...], Field(min_length=24, max_length=24)]]
    day_of_week: Sourced[Annotated[tuple[Weight, ...], Field(min_length=7, max_length=7)]]  # Monday first
    sizes: Sourced[Annotated[tuple[Size, ...], Field(min_length=1, max_length=100)]]
    runs: Sourced[Runs]
    estimates: Sourced[Estimates]
    projects: Sourced[Projects]
    pools: Sourced[Annotated[tuple[Pool, ...], Field(min_length=1, max_length=100)]]
    work_classes: Sourced[Annotated[tuple[WorkClass, ...], Field(min_length=1, max_length=100)]]
    slack: Sourced[Slack]

    @model_validator(mode="after")
    def _whole(self) -> Workload:
        parts: dict[str, Any] = {"sizes": self.sizes, "pools": self.pools, "work_classes": self.work_classes}
        for name, part in parts.items():
            if sum(item.share for item in part.value) != 1_000_000:
                raise ValueError(f"the shares of {name} do not add up to 1000000")
        for name, weights in (("hour_of_day", self.hour_of_day), ("day_of_week", self.day_of_week)):
            if not any(weights.value):
                raise ValueError(f"the weights of {name} are all 0")
        if self.runs.value.least_s > self.runs.value.most_s or self.slack.value.least_min > self.slack.value.most_min:
            raise ValueError("a least value is above its most")
        return self


def workload(name: str | Path) -> Workload:
    """The ready-made workload `name`, or the one in the YAML file. Raises `definition.missing`, `definition.broken`."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = WORKLOADS / f"{name}.yaml"
        if path.parent != WORKLOADS or not path.is_file():
            raise FabriqueError("definition.missing", id=printable(str(name), 80))
    return catalogues.load(path, TypeAdapter(Workload))


def ready_made() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in WORKLOADS.glob("*.yaml")))
