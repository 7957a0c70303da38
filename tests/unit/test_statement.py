"""Statements in numbers: each is the sum of the postings it names, and together they keep the ledger's identity."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fabrique.apps.ledger import services
from fabrique.apps.ledger.models import Checkpoint, Posting
from fabrique.apps.reports.document import as_json, fingerprint
from fabrique.apps.reports.statement import Figure, Statement, UnitAccount, pool_statement, project_statement
from fabrique.core.booking import BUCKETS
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS, MG, MJ, MJ_PER_KWH, Unit

if TYPE_CHECKING:
    from conftest import Story

pytestmark = pytest.mark.django_db
CPU, CAD = Unit("core-ms:this-cpu"), Unit("uCAD")


def of_project(story: Story, from_ms: int = 0, to_ms: int | None = None, name: str = "a") -> Statement:
    end = story.now + 1 if to_ms is None else to_ms
    return project_statement(story.projects[name], from_ms, end, now=story.now + 5, hub=story.hub)


def unit_of(statement: Statement, unit: Unit, allocation: int = 0) -> UnitAccount:
    return next(u for u in statement.allocations[allocation].units if u.unit == unit)


def values(figures: Any) -> dict[str, int]:
    return {name: figure.value for name, figure in figures.items() if figure.value}


def figures(statement: Statement) -> Iterator[Figure]:
    for part in statement.allocations:
        for account in part.units:
            yield from (*account.closing.values(), *account.movements.values())
        for line in part.lines:
            yield from line.amounts
    for account in statement.pool:
        yield from (*account.closing.values(), *account.movements.values())
    for by_unit in statement.totals.values():
        yield from by_unit.values()


def test_the_numbers_of_the_story_by_hand(story: Story) -> None:
    """Granted 100 h; 2 + 1 + 10 + 1 h charged, 1 h lost and refunded, 1.5 h rebate, 5 h moved on, 3 h held."""
    made = of_project(story)
    assert values(unit_of(made, CPU).closing) == {
        "granted": 100 * HOUR_MS,
        "used": int(11.5 * HOUR_MS),
        "held": 3 * HOUR_MS,
        "transferred": 5 * HOUR_MS,
        "available": int(80.5 * HOUR_MS),
    }
    assert values(unit_of(made, MJ).closing) == {
        "granted": 10 * MJ_PER_KWH,
        "used": (2 + 10 + 2) * HOUR_MS * 30,
        "held": 3 * MJ_PER_KWH // 10,
        "available": 10 * MJ_PER_KWH - 14 * HOUR_MS * 30 - 3 * MJ_PER_KWH // 10,
    }
    assert values(unit_of(made, CAD).closing) == {"granted": 14 * 40_000, "used": 14 * 40_000}
    assert made.totals["debit"][CPU].value == 14 * HOUR_MS
    assert made.totals["refund"][CPU].value == -HOUR_MS
    assert made.totals["frugality-rebate"][CPU].value == -int(1.5 * HOUR_MS)


def test_the_third_allocation_expired_whole(story: Story) -> None:
    made = of_project(story)
    assert {part.pool for part in made.allocations} == {"union", "national"}
    ended = next(part for part in made.allocations if part.pool == "national")
    for account in ended.units:
        assert account.closing["expired"].value == account.closing["granted"].value > 0
        assert account.closing["available"].value == 0


@pytest.mark.parametrize("hours", [0, 3, 7, 13, 19, 1000])
def test_granted_is_the_sum_of_the_six_others_at_any_instant(story: Story, hours: int) -> None:
    start = story.now - 25 * HOUR_MS
    for made in (
        of_project(story, start, start + hours * HOUR_MS + 1),
        pool_statement("union", start, start + hours * HOUR_MS + 1, now=story.now, hub=story.hub),
    ):
        for part in made.allocations:
            for account in part.units:
                for row in (account.closing, account.movements):
                    assert row["granted"].value == sum(row[b].value for b in BUCKETS if b != "granted")


def test_every_number_is_the_sum_of_the_postings_it_names(story: Story) -> None:
    amounts = {f"{seq}/{position}": (unit, amount, account) for seq, position, unit, amount, account in all_postings()}
    made = pool_statement("union", story.now - 12 * HOUR_MS, story.now + 1, now=story.now, hub=story.hub)
    seen = 0
    for figure in figures(made):
        named = [amounts[place] for place in figure.trace]
        assert {unit for unit, _, _ in named} <= {figure.unit}
        assert abs(figure.value) == abs(sum(amount for _, amount, _ in named))
        assert len(set(figure.trace)) == len(figure.trace)
        seen += len(named)
    assert seen > 100


def all_postings() -> Any:
    return Posting.objects.values_list("entry_id", "position", "unit", "amount", "account")


def test_two_halves_of_a_period_make_the_whole(story: Story) -> None:
    end = story.now + 1
    middle = story.now - 11 * HOUR_MS  # an instant at which something was written: it is in the second half
    first, second, whole = of_project(story, 0, middle), of_project(story, middle, end), of_project(story, 0, end)
    for unit in (CPU, MJ, MG, CAD):
        for bucket in BUCKETS:
            halves = [unit_of(made, unit).movements[bucket].value for made in (first, second)]
            assert sum(halves) == unit_of(whole, unit).movements[bucket].value
    assert len(first.allocations[0].lines) + len(second.allocations[0].lines) == len(whole.allocations[0].lines)
    assert first.allocations[0].lines
    assert second.allocations[0].lines


def test_a_line_says_which_factor_rate_and_meter_it_rests_on(story: Story) -> None:
    charged = of_project(story).allocations[0].lines[0]
    assert charged.what == "debit"
    assert charged.facts["rate"] == "cores/1"
    assert "CA-QC 2023" in str(charged.facts["factor"])
    assert charged.facts["energy"] == {"basis": "modelled", "how": "linear", "error_permille": 370, "tested_on": None}


def test_a_refund_carries_its_cause_and_takes_back_what_was_charged(story: Story) -> None:
    lines = of_project(story).allocations[0].lines
    refund = next(line for line in lines if line.what == "refund")
    charged = next(line for line in lines if line.what == "debit" and line.ref == refund.ref)
    assert refund.facts == {"code": "refund.hub-failure", "cause": "power"}
    assert {f.unit: -f.value for f in refund.amounts} == {f.unit: f.value for f in charged.amounts}


def test_assumptions_are_named_once(story: Story) -> None:
    made = of_project(story)
    assert [(a.code, a.about, a.error_permille) for a in made.assumptions] == [
        ("energy-modelled", "linear", 370),
        ("rate-assumed", "cores/1", None),
    ]


def test_a_pool_awarded_what_its_allocations_hold(story: Story) -> None:
    made = pool_statement("union", 0, story.now + 1, now=story.now, hub=story.hub)
    assert {part.project for part in made.allocations} == {"p-3f9a2c", "p-77aa01"}
    for account in made.pool:
        left = sum(
            u.closing["granted"].value - u.closing["expired"].value - u.closing["transferred"].value
            for part in made.allocations
            for u in part.units
            if u.unit == account.unit
        )
        assert account.closing["awarded"].value == left
    time = next(account for account in made.pool if account.unit == CPU)
    assert time.closing["unallocated"].value + time.closing["awarded"].value == 9000 * HOUR_MS


def test_an_open_period_is_said_to_be_provisional(story: Story) -> None:
    assert of_project(story, 0, story.now + 10**9).is_provisional
    assert not of_project(story, 0, story.now).is_provisional


def test_a_statement_before_the_first_entry_is_empty_and_whole(story: Story) -> None:
    made = of_project(story, 1, 2)
    assert (made.closing_seq, made.places, made.totals) == (0, (), {})
    assert as_json(made)["ledger"]["postings"] == []


@pytest.mark.parametrize(("from_ms", "to_ms"), [(5, 5), (6, 5), (-1, 5), (0, 2**63)])
def test_a_period_that_is_none_is_refused(story: Story, from_ms: int, to_ms: int) -> None:
    before = Checkpoint.objects.count()
    with pytest.raises(FabriqueError) as error:
        of_project(story, from_ms, to_ms)
    assert error.value.code == "request.broken"
    assert Checkpoint.objects.count() == before


def test_an_empty_ledger_has_no_statement(untold: Story) -> None:
    with pytest.raises(FabriqueError) as error:
        of_project(untold)
    assert error.value.code == "ledger.broken"


# --- the JSON ---------------------------------------------------------------------------------------------------------


def test_all_numbers_are_text_and_names_stay_out(story: Story) -> None:
    made = of_project(story)
    text = json.dumps(as_json(made), ensure_ascii=False)

    def numbers(text: str) -> str:
        raise AssertionError(f"a bare number: {text}")

    json.loads(text, parse_int=numbers, parse_float=numbers, parse_constant=numbers)
    assert "Forêts" in made.title
    assert "Forêts" not in text
    assert "example.org" not in text


def test_the_fingerprint_is_of_the_content_and_the_checkpoint_of_the_head(story: Story) -> None:
    made = of_project(story)
    data = as_json(made)
    assert data["fingerprint"] == fingerprint(made)
    head = Checkpoint.objects.order_by("-seq").first()
    assert head is not None
    assert data["checkpoint"] == services.checkpoint_json(head)
    assert data["ledger"]["headers"][-1]["seq"] == data["checkpoint"]["seq"]
    assert data["ledger"]["headers"][0]["seq"] == str(made.places[0][0])


def test_the_same_inputs_make_the_same_document(story: Story) -> None:
    assert as_json(of_project(story)) == as_json(of_project(story))


def test_a_checkpoint_is_anchored_once_for_each_head(story: Story) -> None:
    before = Checkpoint.objects.count()
    of_project(story)
    of_project(story)
    assert Checkpoint.objects.count() == before
    services.end_allocation(story.key("b"), "union", now=story.tick())
    of_project(story)
    assert Checkpoint.objects.count() == before + 1
