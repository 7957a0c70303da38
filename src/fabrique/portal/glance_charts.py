"""The home page's pictures, from the numbers of `glance`, in the reader's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from django.utils.translation import gettext as _

from fabrique import charts
from fabrique.charts import Axis, Bar, Cell, Chart, Layer, Limit, Part, Plot, Share, Step
from fabrique.language import Speaker
from fabrique.portal.glance import DAY_MS, HOUR_MS, Bucket, Devices, Glance, PoolUse

# the same colour everywhere for the same pool and the same vendor
POOL_COLOURS = {"union": 0, "national": 1, "research": 2, "startup": 3, "startups": 3, "commercial": 5, "local": 4}
VENDOR_COLOURS = {"nvidia": 2, "amd": 5, "intel": 0, "": 4}
LEVELS = (50_000, 150_000, 300_000, 500_000)  # mg CO2e/kWh where a cell of the band gets a darker colour


def axis_of(speaker: Speaker) -> Axis:
    return Axis(speaker.power, speaker.time, speaker.instant, lambda ms: speaker.local(ms).hour)


def power(glance: Glance, speaker: Speaker) -> Chart:
    """Power under its cap over the last day, and the most that the next day can bring."""
    return charts.over_time(power_plot(glance, speaker), axis_of(speaker))


def power_plot(glance: Glance, speaker: Speaker) -> Plot:
    layers = [
        Layer(_("jobs"), _steps(glance.buckets, "jobs"), 0),
        Layer(_("idle"), _steps(glance.buckets, "idle"), 4),
        Layer(_("overhead"), _steps(glance.buckets, "overhead"), 3),
        Layer(_("residual"), _steps(glance.buckets, "residual"), None),
    ]
    drawn = [layer for layer in layers if any(step.value for step in layer.steps)] or layers[:2]
    cap = None
    if glance.cap_w is not None:
        name = _("cap %(power)s") % {"power": speaker.power(glance.cap_w)}
        cap = Limit(name, _cap(glance))
    plan = Layer(_("plan: at most"), [Step(p.from_ms, p.to_ms, p.watts) for p in glance.plan], 0)
    return Plot(
        key="power",
        title=_("Power under its cap"),
        desc=_("Mean power by ten minutes over the last 24 hours, by what drew it; then the most that can be drawn."),
        from_ms=glance.now - DAY_MS,
        to_ms=glance.now + DAY_MS,
        layers=drawn,
        limit=cap,
        plan=plan,
        now_ms=glance.now,
        now_name=_("now"),
        time_name=_("from"),
    )


def _steps(buckets: Sequence[Bucket], part: str) -> list[Step]:
    return [Step(b.from_ms, b.to_ms, getattr(b, part)) for b in buckets]


def _cap(glance: Glance) -> list[Step]:
    """The cap as it was in each bucket, unbroken; the present one where it was not recorded."""
    past = [Step(b.from_ms, b.to_ms, glance.cap_w if b.cap_w is None else b.cap_w) for b in glance.buckets]
    return [*past, Step(past[-1].to_ms if past else glance.now, glance.now + DAY_MS, glance.cap_w)]


def carbon(glance: Glance, speaker: Speaker) -> Chart | None:
    """The carbon intensity under the same hours; one cell an hour."""
    if glance.factor is None:
        return None
    axis = replace(axis_of(speaker), say=lambda grams: speaker.intensity(round(grams * 1000)))
    value = glance.factor.mg_per_kwh / 1000
    level = sum(glance.factor.mg_per_kwh >= edge for edge in LEVELS)
    first = glance.now - DAY_MS
    cells = [Cell(first + i * HOUR_MS, first + (i + 1) * HOUR_MS, value, level) for i in range(48)]
    title = _("Carbon intensity of the grid zone %(zone)s") % {"zone": glance.factor.zone}
    desc = _("A yearly factor: the same at every hour.")
    left = charts.left_of(power_plot(glance, speaker), axis_of(speaker))
    return charts.band("carbon", title, desc, cells, axis, (_("from"), _("carbon intensity")), left)


def accelerators(found: Sequence[Devices], speaker: Speaker) -> Chart:
    """Used, free and unavailable, one bar a kind."""
    bars = []
    for d in found:
        colour = VENDOR_COLOURS.get(d.vendor, 4)
        parts = [
            Part(_("in use"), d.used / 1000, colour),
            Part(_("free"), d.free / 1000, colour, faint=True),
            Part(_("unavailable"), d.down / 1000, None),
        ]
        name = " ".join(filter(None, (speaker.word("vendor", d.vendor) if d.vendor else "", speaker.kind(d.kind))))
        note = f"{speaker.number(d.total / 1000)} {speaker.word('device', d.device)}"
        bars.append(Bar(name[:1].upper() + name[1:], parts, note))
    head = (_("kind"), _("in use"), _("free"), _("unavailable"), _("in all"))
    desc = _("How many of the connected devices are in use.")
    return charts.stacked("devices", _("Devices in use"), desc, bars, lambda v: speaker.number(v), head)


def pools(found: Sequence[PoolUse], speaker: Speaker) -> Chart:
    """What each pool used against what it is entitled to."""
    rows = []
    several = len({use.unit for use in found}) > 1
    for use in found:
        entitled = None if use.entitled_ppm is None else use.entitled_ppm / 1_000_000
        told = _("entitled to %(share)s") if not use.assumed else _("entitled to %(share)s (assumption)")
        share = None if use.entitled_ppm is None else speaker.percent(use.entitled_ppm / 1000)
        called = speaker.word("pool", use.name)
        name = f"{called} – {speaker.unit_name(use.unit)}" if several else called
        said = told % {"share": share} if share else _("entitlement not published")
        used = _("%(share)s used") % {"share": speaker.percent(use.used_ppm / 1000)}
        rows.append(Share(name, use.used_ppm / 1_000_000, entitled, used, said, POOL_COLOURS.get(use.pool, 4)))
    head = (_("pool"), _("used"), _("entitlement"))
    desc = _("Each pool's part of the computing time used in the last 30 days, and the part it is entitled to.")
    return charts.shares("pools", _("Shares of the pools"), desc, rows, head)
