"""The desk: doors, forms, decisions. Each view asks the table of rights before it shows or does anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fabrique.apps.access import advice, forms, queries, services
from fabrique.apps.access.models import Application, ApplicationState
from fabrique.apps.asking import asker, may, person_for, require, said
from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Person
from fabrique.apps.this_hub import this_hub
from fabrique.core.access import AUDIENCES, Bounds, Mode
from fabrique.core.errors import FabriqueError
from fabrique.core.units import device_of

FRAGMENT = "X-Fragment"  # asked by the page's script: only what changes
ENDED = (ApplicationState.INELIGIBLE, ApplicationState.REFUSED)


@dataclass(frozen=True, slots=True)
class Door:
    """One access mode as a choice. `fits`: whether it is for the asker's organisation, None when unknown."""

    mode: Mode
    name: str
    summary: str
    sizes: tuple[tuple[str, Bounds], ...]  # kind, hours
    fits: bool | None
    draft: bool

    @property
    def assumed(self) -> bool:
        """Whether something here rests on what the hub assumes."""
        return self.mode.assumed()


# --- which door -------------------------------------------------------------------------------------------------


@require_GET
def doors(request: HttpRequest) -> HttpResponse:
    """Which door: every access mode with who may ask, how much, how long, how fast, and who decides."""
    person, now = asker(request), now_ms()
    require(person, "hub.view", now=now)
    organisation = people.organisation_of(person, now=now) if person else None
    drafts = {a.mode for a in queries.applications_of(person) if a.state == ApplicationState.DRAFT} if person else set()
    found = [_door(mode, organisation.kind if organisation else None, mode.id in drafts) for mode in _modes(now)]
    found.sort(key=lambda d: d.fits is False)
    return render(request, "access/doors.html", {"doors": found, "organisation": organisation, "person": person})


def _modes(now: int) -> list[Mode]:
    return services.modes(now=now)


def _door(mode: Mode, kind: str | None, draft: bool) -> Door:
    sizes = tuple((k, mode.size(device_of(unit))) for k, unit in sorted(this_hub().units.items()))
    fits = None if kind is None else kind in mode.audience
    return Door(mode, said(mode.name), said(mode.summary), sizes, fits, draft)


@require_http_methods(["GET", "POST"])
def organisation(request: HttpRequest) -> HttpResponse:
    """Whom you ask for: the organisation, told once and known from then on."""
    now = now_ms()
    person = person_for(request, "application.create", now=now)
    current = people.organisation_of(person, now=now)
    data = {"name": "", "kind": "", "country": ""}
    errors: Mapping[str, object] = {}
    if request.method == "POST":
        data = {key: request.POST.get(key, "")[:400].strip() for key in data}
        errors = forms.organisation_errors(data)
        if not errors:
            made = people.create_organisation(data["name"], data["kind"], data["country"], now=now)
            people.join(person, made, now=now)
            return redirect(_next(request))
    context = {
        "current": current,
        "data": data,
        "errors": errors,
        "kinds": AUDIENCES,
        "countries": forms.countries(str(getattr(request, "LANGUAGE_CODE", "en"))),
        "next": _next(request),
    }
    return render(request, "access/organisation.html", context, status=400 if errors else 200)


def _next(request: HttpRequest) -> str:
    """Where to go on: an address of this hub, or the doors."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    local = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted if local else "/apply"


# --- the form ---------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def apply(request: HttpRequest, mode: str) -> HttpResponse:
    """The form of one access mode: kept as it is typed, judged as it is typed, submitted when it is right."""
    now = now_ms()
    person = person_for(request, "application.create", now=now)
    chosen = services.find_mode(mode, now=now)
    known = people.organisation_of(person, now=now)
    if known is None:
        return redirect(f"/organisation?next=/apply/{chosen.id}")
    draft = _draft(person, chosen)
    values: dict[str, object] = {**forms.prefilled(chosen, known), **(draft.form if draft else {})}
    action = ""
    if request.method == "POST":
        action = request.POST.get("action", "save")
        values = dict(forms.typed(chosen, request.POST))
        draft = services.save_draft(person, chosen.id, values, now=now, application=draft)
        if action == "submit" and not forms.unanswered(chosen, values):
            try:
                return redirect("application", services.submit(draft, person, now=now).id)
            except FabriqueError as error:
                if error.code != "application.field":
                    raise
        elif action != "submit" and FRAGMENT not in request.headers:
            messages.success(request, _("Your draft is saved."))
            return redirect("apply-form", chosen.id)
    assessment = services.assess(chosen.id, values, now=now, applicant=person)
    shown = forms.page(chosen, values, assessment, known=True, judged=action == "submit")
    context = {
        "mode": chosen,
        "name": said(chosen.name),
        "summary": said(chosen.summary),
        "page": shown,
        "told": forms.told(assessment),
        "organisation": known,
        "draft": draft,
        "sizes": _door(chosen, None, False).sizes,
        "duties": [said(d.text) for d in chosen.duties],
        "submitted": action == "submit",
        "now": now,
    }
    template = "access/told.html" if FRAGMENT in request.headers else "access/apply.html"
    return render(request, template, context, status=400 if action == "submit" else 200)


def _draft(person: Person, mode: Mode) -> Application | None:
    """The person's one draft for this mode; a submitted application is no draft any more."""
    mine = Application.objects.filter(applicant=person, mode=mode.id, state=ApplicationState.DRAFT)
    return mine.order_by("-changed_ms").first()


# --- applications -----------------------------------------------------------------------------------------------


@require_GET
def applications(request: HttpRequest) -> HttpResponse:
    """Your applications, and what became of each."""
    person = person_for(request, "application.create", now=now_ms())
    found = [(a, _mode_name(a)) for a in queries.applications_of(person)]
    return render(request, "access/applications.html", {"applications": found})


@require_GET
def application(request: HttpRequest, key: UUID) -> HttpResponse:
    """One application: the decision and why, the evidence of each rule, what comes next."""
    person, now = asker(request), now_ms()
    found = _find(key)
    require(person, "application.view", now=now, application=found)
    mode = services.find_mode(found.mode, now=now, version=found.mode_version)
    answers = list(found.answers.all())
    last = answers[-1].stage if answers else ""
    context = {
        "application": found,
        "mode": mode,
        "name": said(mode.name),
        "answers": [a for a in answers if a.stage == last],
        "failed": [a for a in answers if a.stage == last and a.verdict == "fail"],
        "unknown": [a for a in answers if a.stage == last and a.verdict == "unknown"],
        "allocation": _allocation(found),
        "given": _given(mode, found),
        "others": [_door(m, None, False) for m in _modes(now) if m.id != mode.id] if found.state in ENDED else [],
        "may_edit": may(person, "application.edit", now=now, application=found).allowed,
        "may_decide": _may_decide(person, found, now),
        "advice": advice.advise(found, now=now) if _may_decide(person, found, now) else None,
        "now": now,
    }
    return render(request, "access/application.html", context)


@require_POST
def decide(request: HttpRequest, key: UUID) -> HttpResponse:
    """An officer accepts or turns down an application, with a note that the applicant reads."""
    now = now_ms()
    found = _find(key)
    person = person_for(request, "application.decide", now=now, application=found)
    note = request.POST.get("note", "").strip()
    verdict = request.POST.get("decision", "")
    if verdict not in ("accept", "refuse") or not note or "\0" in note or len(note) > 2_000:
        raise FabriqueError("request.broken", field="note" if verdict else "decision")
    services.decide(found, person, verdict == "accept", note, now=now)
    return redirect("application", found.id)


@require_POST
def withdraw(request: HttpRequest, key: UUID) -> HttpResponse:
    """The applicant takes an application back."""
    now = now_ms()
    found = _find(key)
    person = person_for(request, "application.edit", now=now, application=found)
    services.withdraw(found, person, now=now)
    return redirect("application", found.id)


def _find(key: UUID) -> Application:
    """Raises `application.missing`."""
    found = Application.objects.select_related("applicant", "project__organisation").filter(pk=key).first()
    if found is None:
        raise FabriqueError("application.missing", application=str(key))
    return found


def _may_decide(person: Person | None, found: Application, now: int) -> bool:
    waiting = found.state == ApplicationState.SUBMITTED
    return waiting and may(person, "application.decide", now=now, application=found).allowed


def _mode_name(found: Application) -> str:
    try:
        return said(services.find_mode(found.mode, now=now_ms(), version=found.mode_version).name)
    except FabriqueError:  # a mode the hub no longer offers keeps its id
        return found.mode


def _allocation(found: Application) -> queries.AllocationSummary | None:
    award = getattr(found, "award", None)
    return queries.allocation_summary(award.allocation, now=now_ms()) if award else None


def _given(mode: Mode, found: Application) -> list[tuple[str, str]]:
    """What was answered, with the form's own words; the ethics questions last."""
    assessment = services.Assessment(mode, [], [])
    shown = forms.page(mode, found.form, assessment, known=False, judged=False)
    return [(f.label, _chosen(f)) for f in (*shown.fields, *shown.ethics) if f.value]


def _chosen(f: forms.Shown) -> str:
    if f.shape == "yes-no":
        return _("yes") if f.value == "yes" else _("no") if f.value == "no" else f.value
    return next((o.label for o in f.options if o.chosen), f.value)
