"""Scripts from anybody: parsing never raises, and what a header says is read back exactly."""

from __future__ import annotations

import time
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from fabrique.core.job import DAY_MS, SIGNALS, JobSpec, check_spec
from fabrique.definitions.complaints import say
from fabrique.definitions.jobscript import KEYS, header, parse

SHEBANG = "#!/bin/sh\n"
SECONDS = st.integers(1, 366 * DAY_MS // 1_000).map(lambda s: s * 1_000)
INSTANTS = st.none() | st.integers(-(10**11), 10**14)
KINDS = st.lists(st.from_regex(r"[a-z0-9][a-z0-9.-]{0,12}", fullmatch=True), unique=True, max_size=4).map(tuple)
DATASETS = st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,12}", fullmatch=True), unique=True, max_size=4)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1, max_size=60
)
POWERS: st.SearchStrategy[int | Literal["auto", "max"]] = st.one_of(
    st.just("auto"), st.just("max"), st.integers(1, 10_000)
)
DEVICES = st.integers(0, 999) | st.integers(1, 64).map(lambda n: n * 1_000)


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    preemptible = draw(st.booleans())
    return JobSpec(
        script=SHEBANG,
        name=draw(NAMES),
        project=draw(st.none() | st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)),
        kinds=draw(KINDS),
        milli_devices=draw(DEVICES),
        cores=draw(st.integers(1, 1_000)),
        memory_mb=draw(st.none() | st.integers(1, 2**30)),
        walltime_ms=draw(SECONDS),
        not_before_ms=draw(INSTANTS),
        latest_start_ms=draw(INSTANTS),
        deadline_ms=draw(INSTANTS),
        preemptible=preemptible,
        checkpoint_signal=draw(st.none() | st.sampled_from(SIGNALS)) if preemptible else None,
        lead_ms=draw(st.integers(0, 600)) * 1_000,
        datasets=tuple(draw(DATASETS)),
        power=draw(POWERS),
        output_limit_bytes=draw(st.integers(1, 2**40)),
    )


@given(specs())
@settings(max_examples=150)
def test_a_header_that_is_written_is_read_back_exactly(spec: JobSpec) -> None:
    lines = header(spec)
    script = SHEBANG + "".join(line + "\n" for line in lines)
    back, complaints = parse(script.encode(), "job.sh")
    if check_spec(spec):
        assert back is None and complaints
        return
    assert complaints == [], [say(c) for c in complaints]
    assert back is not None
    assert {n: getattr(back, n) for n in JobSpec.__slots__ if n != "script"} == {
        n: getattr(spec, n) for n in JobSpec.__slots__ if n != "script"
    }


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_bytes_from_anybody(raw: bytes) -> None:
    for whole in (raw, SHEBANG.encode() + raw):
        spec, complaints = parse(whole, "job.sh")
        assert (spec is None) == bool(complaints)
        assert all(say(c, language) for c in complaints for language in ("en", "fr"))


@given(st.lists(st.tuples(st.sampled_from([*KEYS, "gpus", "colour"]), st.text(max_size=30)), max_size=6))
@settings(max_examples=300)
def test_values_from_anybody(pairs: list[tuple[str, str]]) -> None:
    script = SHEBANG + "".join(f"#fabrique {key}: {value}\n" for key, value in pairs)
    spec, complaints = parse(script.encode("utf-8", "surrogatepass"), "job.sh", dict(pairs[:2]))
    assert (spec is None) == bool(complaints)
    assert all(say(c) for c in complaints)
    if spec is not None:
        assert check_spec(spec) == []


@given(st.sampled_from(KEYS), st.from_regex(r"[0-9.:mhdsKMGTW, =ofyesauto+Z-]{1,24}", fullmatch=True))
@settings(max_examples=300)
def test_values_that_look_right(key: str, value: str) -> None:
    spec, complaints = parse(f"{SHEBANG}#fabrique {key}: {value}\n".encode(), "job.sh")
    assert (spec is None) == bool(complaints)
    assert all(c.line == 2 for c in complaints)


def test_a_hostile_mebibyte_is_read_in_a_moment() -> None:
    half = 2**19
    hostile = [
        "#fabrique name: x" + " " * half + "x\n",
        "#fabrique " + "a" * half + "\n",
        "#fabrique datasets: " + "a," * (half // 2) + "\n",
        "#fabrique accelerators: 1 of" + " " * half + "\n",
        "#fabrique walltime: " + "1" * half + "\n",
        "#fabrique deadline: " + "1" * half + "\n",
        "#fabrique cores: 1\n" * 20_000,
        "#" + " " * half + "fabrique\n",
    ]
    for lines in hostile:
        start = time.perf_counter()
        parse((SHEBANG + lines).encode(), "job.sh")
        assert time.perf_counter() - start < 5
