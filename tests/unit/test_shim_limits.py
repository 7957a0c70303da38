"""When a run is warned, asked to end, and ended; and under which cause. Times are milliseconds from its start."""

from __future__ import annotations

from fabrique.engines.limits import Limits

START = 1_000_000


def limits(lead: int = 0, warns: bool = False, memory: int | None = None) -> Limits:
    return Limits(START, walltime=10_000, lead=lead, grace=500, memory=memory, warns=warns, output=100)


def test_the_walltime_is_the_last_of_all_ends() -> None:
    run = limits()
    assert not run.wants_term(START + 9_999) and run.wants_term(START + 10_000)
    assert not run.wants_kill(START + 10_499) and run.wants_kill(START + 10_500)
    assert run.ending.cause == "walltime" and not run.took_effect()
    assert run.next_at(START) == START + 10_000


def test_a_warning_is_due_the_lead_before_the_end() -> None:
    run = limits(lead=2_000, warns=True)
    assert not run.wants_warning(START + 7_999) and run.wants_warning(START + 8_000)
    assert run.next_at(START) == START + 8_000 and run.next_at(START + 8_000) == START + 10_000
    run.warned = True
    assert not run.wants_warning(START + 9_000)


def test_no_signal_no_warning() -> None:
    assert not limits(lead=2_000).wants_warning(START + 9_000)


def test_a_preemption_warns_at_once_and_ends_after_the_lead() -> None:
    run = limits(lead=2_000, warns=True)
    run.preempt(START + 100)
    run.preempt(START + 300)
    assert run.wants_warning(START + 100) and not run.took_effect()
    run.warned = True
    assert run.took_effect(), "warned, so that its end is no longer its own choice"
    assert not run.wants_term(START + 2_099) and run.wants_term(START + 2_100)
    assert run.ending.cause == "preempted"


def test_a_preemption_without_a_signal_ends_at_once() -> None:
    run = limits(lead=2_000)
    run.preempt(START + 100)
    assert run.wants_term(START + 100) and not run.took_effect()


def test_a_preemption_never_makes_a_run_longer() -> None:
    run = limits(lead=2_000, warns=True)
    run.preempt(START + 9_500)
    assert run.ending.cause == "walltime" and run.wants_term(START + 10_000)


def test_a_cancel_shortens_a_preemption_and_takes_its_cause() -> None:
    run = limits(lead=5_000, warns=True)
    run.preempt(START)
    run.cancel(START + 10, 50)
    assert run.ending.cause == "cancelled" and run.wants_term(START + 10) and run.wants_kill(START + 60)


def test_after_term_the_cause_stands_and_the_kill_only_comes_sooner() -> None:
    run = limits()
    run.cancel(START, 60_000)
    run.ending.termed = True
    run.see(START + 5, memory=0, output=101)
    assert run.ending.cause == "cancelled" and run.ending.kill_at == START + 505
    run.cancel(START + 10, 90_000)
    assert run.ending.kill_at == START + 505


def test_memory_ends_a_run_without_grace() -> None:
    run = limits(memory=1_000)
    run.see(START + 1, memory=1_000, output=0)
    assert run.ending.cause == "walltime"
    run.see(START + 2, memory=1_001, output=0)
    assert run.ending.cause == "memory" and run.wants_kill(START + 2)


def test_the_shims_own_end_is_nobodys_fault() -> None:
    run = limits()
    run.shut_down(START + 1)
    assert run.ending.cause == "lost" and run.wants_term(START + 1)
