"""The header of a job's script: what it says, what flags override, and every complaint at its line."""

from __future__ import annotations

from typing import Any

import pytest

from fabrique.core.job import DEFAULT_OUTPUT_BYTES, JobSpec
from fabrique.definitions.complaints import Complaint, say
from fabrique.definitions.jobscript import KEYS, header, parse


def asked(*lines: str, **overrides: str) -> JobSpec:
    text = "\n".join(["#!/bin/sh", *(f"#fabrique {line}" for line in lines), "true", ""])
    spec, complaints = parse(text.encode(), "job.sh", {k.replace("_", "-"): v for k, v in overrides.items()})
    assert complaints == [], [say(c) for c in complaints]
    assert spec is not None
    return spec


def told(raw: str | bytes, overrides: dict[str, str] | None = None) -> list[Complaint]:
    spec, complaints = parse(raw.encode() if isinstance(raw, str) else raw, "job.sh", overrides)
    assert spec is None
    return complaints


def test_a_whole_header() -> None:
    text = """#!/usr/bin/env python3
# A remark, then the header.
#fabrique name: entraînement
# fabrique project: frugal-1

#fabrique accelerators: 2 of h100-sxm|mi300x
#\tfabrique cores: 16
#fabrique memory: 64G
#fabrique nodes: 1
#fabrique walltime: 02:30:00
#fabrique latest-start: 2026-12-01T08:00+01:00
#fabrique deadline: 2026-12-01T12:00:00Z
#fabrique preemptible: yes, signal=SIGUSR1, lead=90s
#fabrique datasets: corpus-fr, corpus-lb
#fabrique power: 420 W
#fabrique output: 10M
print("hello")
"""
    spec, complaints = parse(text.encode(), "job.py")
    assert complaints == []
    assert spec == JobSpec(
        script=text,
        name="entraînement",
        project="frugal-1",
        kinds=("h100-sxm", "mi300x"),
        milli_devices=2_000,
        cores=16,
        memory_mb=65_536,
        walltime_ms=9_000_000,
        latest_start_ms=1_796_108_400_000,
        deadline_ms=1_796_126_400_000,
        preemptible=True,
        checkpoint_signal="USR1",
        lead_ms=90_000,
        datasets=("corpus-fr", "corpus-lb"),
        power=420,
        output_limit_bytes=10 * 2**20,
    )


def test_a_script_without_a_header_asks_for_one_core_of_an_hour() -> None:
    spec = asked()
    assert (spec.milli_devices, spec.cores, spec.walltime_ms, spec.project) == (0, 1, 3_600_000, None)
    assert spec.output_limit_bytes == DEFAULT_OUTPUT_BYTES


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("accelerators: 1", "milli_devices", 1_000),
        ("accelerators: 0.5", "milli_devices", 500),
        ("accelerators: 0.125", "milli_devices", 125),
        ("accelerators: 0.5000", "milli_devices", 500),
        ("accelerators: 500m", "milli_devices", 500),
        ("gpus: 4", "milli_devices", 4_000),
        ("accelerators: 1 of h100-sxm", "kinds", ("h100-sxm",)),
        ("kinds: h100-sxm, mi300x", "kinds", ("h100-sxm", "mi300x")),
        ("memory: 512M", "memory_mb", 512),
        ("memory: 1.5GiB", "memory_mb", 1_536),
        ("memory: 1T", "memory_mb", 2**20),
        ("walltime: 00:10:00", "walltime_ms", 600_000),
        ("walltime: 1-00:00:00", "walltime_ms", 86_400_000),
        ("walltime: 30m", "walltime_ms", 1_800_000),
        ("walltime: 2h", "walltime_ms", 7_200_000),
        ("walltime: 1d", "walltime_ms", 86_400_000),
        ("walltime: 1h30m", "walltime_ms", 5_400_000),
        ("walltime: 90s", "walltime_ms", 90_000),
        ("not-before: 2026-12-01T08:00+01:00", "not_before_ms", 1_796_108_400_000),
        ("latest-start: 1970-01-01T00:00:00.001Z", "latest_start_ms", 1),
        ("preemptible: no", "preemptible", False),
        ("preemptible: yes", "preemptible", True),
        ("power: max", "power", "max"),
        ("power: auto", "power", "auto"),
        ("power: 300", "power", 300),
        ("name: a:b", "name", "a:b"),
        ("output:64K", "output_limit_bytes", 65_536),
        ("nodes: 3", "cores", 3),  # one on each
    ],
)
def test_what_a_line_means(line: str, name: str, value: object) -> None:
    assert getattr(asked(line), name) == value


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("accelerators: 0.0005", "script.not-exact"),
        ("accelerators: 0.3333", "script.not-exact"),
        ("accelerators: 1.5", "script.fraction"),
        ("accelerators: -1", "value.pattern"),
        ("accelerators: 1e3", "value.pattern"),
        ("accelerators: ٣", "value.pattern"),
        ("accelerators: two", "value.pattern"),
        ("accelerators: 2 of", "value.pattern"),
        ("accelerators: 2 of H100", "value.pattern"),
        ("accelerators: 999999999999", "value.bound"),
        ("cores: 0", "value.bound"),
        ("cores: 1.5", "value.pattern"),
        ("cores:", "value.missing"),
        ("memory: 4", "value.pattern"),  # of what?
        ("memory: 1K", "script.not-exact"),
        ("memory: 0M", "value.bound"),
        ("walltime: 60", "value.pattern"),  # of what?
        ("walltime: 01:60:00", "value.pattern"),
        ("walltime: 0m", "value.bound"),
        ("walltime: 400d", "value.bound"),
        ("walltime: 999999999d", "value.bound"),
        ("deadline: 2026-12-01T08:00", "script.no-zone"),
        ("deadline: 2026-12-01", "script.no-zone"),
        ("deadline: tomorrow", "value.pattern"),
        ("deadline: 0001-01-01T00:00:00.000001+00:00", "script.not-exact"),
        ("preemptible: perhaps", "value.pattern"),
        ("preemptible: yes, signal=KILL", "value.choice"),
        ("preemptible: yes, colour=red", "value.pattern"),
        ("preemptible: yes, lead=60", "value.pattern"),
        ("preemptible: no, signal=USR1", "script.needs"),
        ("preemptible: yes, signal=USR1, lead=1h", "value.bound"),
        ("power: 420 kW", "value.pattern"),
        ("power: 0", "value.bound"),
        ("project: a b", "value.pattern"),
        ("name: a\x1b[2J", "value.control-characters"),
        ("datasets: a, a", "script.repeated"),
        ("colour: red", "value.unknown-key"),
        ("walltime 30m", "script.syntax"),
        (": 30m", "script.syntax"),
    ],
)
def test_a_line_that_is_wrong_is_told_at_its_place(line: str, code: str) -> None:
    complaints = told(f"#!/bin/sh\n# a remark\n#fabrique {line}\ntrue\n")
    assert [(c.file, c.line, c.code) for c in complaints] == [("job.sh", 3, code)], [say(c) for c in complaints]


def test_every_complaint_is_said_not_only_the_first() -> None:
    complaints = told("#!/bin/sh\n#fabrique cores: x\n#fabrique memory: x\n#fabrique colour: x\n")
    assert [(c.line, c.field) for c in complaints] == [(2, "cores"), (3, "memory"), (4, "colour")]


@pytest.mark.parametrize(
    ("raw", "line", "code"),
    [
        (b"", 1, "script.no-shebang"),
        (b"echo hello\n", 1, "script.no-shebang"),
        (b"#!bash\n", 1, "script.no-shebang"),
        (b" #!/bin/sh\n", 1, "script.no-shebang"),
        (b"#!/bin/sh\r\ntrue\r\n", 1, "script.crlf"),
        (b"#!/bin/sh\ntrue\ntrue\r\n", 3, "script.crlf"),
        (b"#!/bin/sh\n\0", 2, "script.nul"),
        (b"#!/bin/sh\ntrue\n\xff\xfe", 3, "file.not-utf8"),
        (b"#!/bin/sh\n" + b"#" * 2**20, 0, "file.too-large"),
    ],
)
def test_a_file_that_is_no_script(raw: bytes, line: int, code: str) -> None:
    assert [(c.line, c.code) for c in told(raw)] == [(line, code)]


def test_the_script_itself_is_kept_to_the_byte() -> None:
    text = "#!/bin/sh\n#fabrique cores: 2\n\n\techo 'é'\n\n"
    spec, _ = parse(text.encode(), "job.sh")
    assert spec is not None and spec.script == text


def test_a_header_line_after_the_first_command_is_told() -> None:
    complaints = told("#!/bin/sh\ntrue\n#fabrique cores: 2\n")
    assert [(c.line, c.code) for c in complaints] == [(3, "script.late-header")]


def test_a_remark_about_us_is_no_header() -> None:
    spec, complaints = parse(b"#!/bin/sh\n#fabriques cores: 2\ntrue\n#fabrique is nice\n", "job.sh")
    assert complaints == []
    assert spec is not None and spec.cores == 1


def test_a_key_given_twice_is_told() -> None:
    for lines in ("#fabrique cores: 1\n#fabrique cores: 2\n", "#fabrique gpus: 1\n#fabrique accelerators: 1\n"):
        assert [(c.line, c.code) for c in told("#!/bin/sh\n" + lines)] == [(3, "script.repeated")]
    kinds = "#!/bin/sh\n#fabrique accelerators: 1 of a\n#fabrique kinds: b\n"
    assert [c.code for c in told(kinds)] == ["script.repeated"]


def test_flags_override_the_header_key_by_key() -> None:
    spec = asked("cores: 2", "walltime: 1h", walltime="2h", project="p1")
    assert (spec.cores, spec.walltime_ms, spec.project) == (2, 7_200_000, "p1")
    assert asked("gpus: 4", accelerators="1").milli_devices == 1_000
    assert asked("accelerators: 4", gpus="1").milli_devices == 1_000
    assert asked("accelerators: 1 of a100-80", kinds="h100-sxm").kinds == ("h100-sxm",)
    assert asked("kinds: a100-80", accelerators="1 of h100-sxm").kinds == ("h100-sxm",)
    assert asked("walltime: nonsense", walltime="2h").walltime_ms == 7_200_000


def test_a_flag_that_is_wrong_is_named() -> None:
    complaints = told("#!/bin/sh\n#fabrique cores: 2\n", {"cores": "many"})
    assert [(c.file, c.line, c.code) for c in complaints] == [("--cores", 0, "value.pattern")]
    assert [c.code for c in told("#!/bin/sh\n", {"gpus": "1", "accelerators": "2"})] == ["script.repeated"]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_complaint_is_a_sentence(language: str) -> None:
    lines = ["cores: x", "gpus: 1.5", "deadline: 2026-12-01", "memory: 1K", "preemptible: no, signal=USR1"]
    for line in lines:
        for complaint in told(f"#!/bin/sh\n#fabrique {line}\n"):
            assert "{" not in say(complaint, language)


def test_a_header_can_be_written_back() -> None:
    spec = asked("accelerators: 500m of h100-sxm", "walltime: 1h", "deadline: 2026-12-01T08:00Z", "memory: 4G")
    assert header(spec) == [
        "#fabrique accelerators: 500m",
        "#fabrique kinds: h100-sxm",
        "#fabrique memory: 4096M",
        "#fabrique deadline: 2026-12-01T08:00:00+00:00",
    ]


def test_every_key_is_documented_by_the_parser() -> None:
    keys: Any = {
        "name", "project", "accelerators", "kinds", "nodes", "cores", "memory", "walltime", "not-before",
        "latest-start", "deadline", "preemptible", "datasets", "power", "tolerance", "output",
    }  # fmt: skip
    assert set(KEYS) == keys
