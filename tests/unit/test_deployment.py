"""The deployment file: read back exactly as written, and refused at the right line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabrique.definitions import cluster as c
from fabrique.definitions import deployment as d
from fabrique.definitions.complaints import say

HUB = d.HubOf(id="ca-lasalle-hub", sha256="a" * 64)
GPU = d.Gpu(uuid="GPU-0", kind="h200-sxm", vendor="nvidia", memory_mb=143_771)
LOCAL = d.Local(
    zone="CA-QC",
    cores=2,
    memory_mb=3_900,
    cap_w=65,
    cap_basis="assumed",
    job_path="/usr/local/bin:/usr/bin:/bin",
    isolation="landlock",
    gpus=(GPU, GPU.model_copy(update={"uuid": "GPU-1"})),
)
PLAIN = d.Deployment(
    created=datetime(2026, 11, 21, 18, 0, 0, 123_000, tzinfo=UTC),
    hub=HUB,
    local=LOCAL,
    energy=d.Power(idle_w=2, max_w=15, error_permille=370),
    money=d.Money(currency="CAD", prices={"core-ms:local-core": 10_000, "mJ": 50_000}),
    pools={"research": 600_000, "startups": 400_000},
    engines=(d.EngineOf(name="local", kind="local", partitions=("this-machine",)),),
)
TEXT = d.write(PLAIN)


def told(text: str) -> list[tuple[int, str, str]]:
    deployment, complaints = d.parse(text.encode(), "fabrique.toml")
    assert deployment is None
    return [(c.line, c.field, c.code) for c in complaints]


def line_of(text: str, start: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith(start))


def test_it_reads_back_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / d.FILE_NAME
    path.write_text(TEXT)
    deployment, complaints = d.read(path)
    assert complaints == []
    assert deployment == PLAIN
    assert d.write(PLAIN) == TEXT


def test_what_the_rest_of_the_house_asks_of_it() -> None:
    assert PLAIN.created_ms == 1_795_284_000_123
    assert PLAIN.local.kinds == {"local-core": "core", "h200-sxm": "accelerator"}
    assert (PLAIN.portal.address, PLAIN.portal.port) == ("127.0.0.1", 8000)


def test_a_laptop_without_a_gpu_is_a_deployment() -> None:
    text = d.write(PLAIN.model_copy(update={"local": LOCAL.model_copy(update={"gpus": ()})}))
    deployment, complaints = d.parse(text.encode(), "f")
    assert complaints == []
    assert deployment is not None and deployment.local.kinds == {"local-core": "core"}


printed = st.characters(
    codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufeff\ufffe\uffff"
)
names = st.text(printed, min_size=1, max_size=40)
ids = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
units = st.sampled_from(["mJ", "mgCO2e", "uCAD", "core-ms:local-core", "acc-ms:h100-sxm", "qpu-ms:x"])


@st.composite
def deployments(draw: st.DrawFn) -> d.Deployment:
    partition = draw(ids)
    uuids = draw(st.lists(names, unique=True, max_size=3))
    gpus = tuple(
        d.Gpu(uuid=u, kind=draw(ids), vendor="amd", memory_mb=draw(st.none() | st.integers(1, 10**9))) for u in uuids
    )
    local = LOCAL.model_copy(update={"partition": partition, "zone": draw(names), "gpus": gpus})
    hub = d.HubOf(id=draw(ids), sha256="0" * 64, path=draw(st.none() | names))
    return PLAIN.model_copy(
        update={
            "hub": hub,
            "local": local,
            "created": draw(st.datetimes(timezones=st.just(UTC))),
            "money": d.Money(currency="EUR", prices=draw(st.dictionaries(units, st.integers(0, 10**15)))),
            "pools": draw(st.dictionaries(ids, st.integers(0, 100_000), max_size=10)),
            "engines": (d.EngineOf(name=draw(ids), kind="local", partitions=(partition,)),),
            "grid": tuple(
                d.GridFiles(zone=zone, actual=draw(names), forecast=draw(st.none() | names))
                for zone in draw(st.lists(st.sampled_from(("LU", "CA-QC", "SE-SE3")), unique=True))
            ),
        }
    )


@given(deployments())
@settings(max_examples=60)
def test_any_deployment_survives_writing(deployment: d.Deployment) -> None:
    back, complaints = d.parse(d.write(deployment).encode(), "f")
    assert complaints == [], [say(c) for c in complaints]
    assert back == deployment


@pytest.mark.parametrize(
    ("old", "new", "start", "code"),
    [
        ("cores = 2", 'cores = "two"', "cores", "value.type"),
        ("cores = 2", "cores = 2.5", "cores", "value.type"),
        ("cores = 2", "cores = true", "cores", "value.type"),
        ("cores = 2", "cores = nan", "cores", "value.type"),
        ("cores = 2", "cores = 0", "cores", "value.bound"),
        ("cores = 2", "cores = 99999999999999999999999999999999", "cores", "value.bound"),
        ("cores = 2", "cores = 2\ncolour = 1", "colour", "value.unknown-key"),
        ("cap_w = 65", "", "[local]", "value.missing"),
        ('cap_basis = "assumed"', 'cap_basis = "guessed"', "cap_basis", "value.choice"),
        ('isolation = "landlock"', 'isolation = "hope"', "isolation", "value.choice"),
        ('job_path = "/usr/local/bin:', 'job_path = ".:', "job_path", "value.pattern"),
        ("port = 8000", "port = 80000", "port", "value.bound"),
        ("version = 1", "version = 2", "version", "value.choice"),
        ('currency = "CAD"', 'currency = "dollars"', "currency", "value.pattern"),
        ('"core-ms:local-core" = 10000', '"core-ms:local-core" = -1', '"core-ms', "value.bound"),
        ("mJ = 50000", "mJ = -1", "mJ", "value.bound"),
        ("mJ = 50000", "joules = 1", "joules", "hub.unknown-reference"),
        ("startups = 400000", "startups = 400001", "[pools]", "hub.shares-above-whole"),
        ("max_w = 15", "max_w = 1", "max_w", "value.bound"),
        ('kind = "local"', 'kind = "cloud"', 'kind = "cloud"', "value.choice"),
        ('partitions = ["this-machine"]', 'partitions = ["elsewhere"]', "partitions", "hub.unknown-reference"),
        ('partitions = ["this-machine"]', 'partitions = ["elsewhere"]', "[[engines]]", "value.missing"),
        ('uuid = "GPU-1"', 'uuid = "GPU-0"', "", "hub.duplicate-id"),
        (f'sha256 = "{"a" * 64}"', 'sha256 = "a"', "sha256", "value.pattern"),
        ("created = 2026-11-21T18:00:00.123000Z", "created = 2026-11-21T18:00:00", "created", "value.refused"),
        ("cores = 2", "cores = ", "cores", "toml.syntax"),
        ("cores = 2", "cores = 2\ncores = 3", "cores = 3", "toml.syntax"),
    ],
)
def test_a_broken_file_is_told_at_its_line(old: str, new: str, start: str, code: str) -> None:
    text = TEXT.replace(old, new)
    if text == TEXT:
        pytest.fail(f"{old} is not written so")
    place = (
        line_of(text, start)
        if start
        else text.splitlines().index('uuid = "GPU-0"', line_of(text, 'uuid = "GPU-0"')) + 1
    )
    assert (place, code) in [(line, c) for line, _, c in told(text)], told(text)


def test_two_engines_never_serve_one_partition() -> None:
    text = TEXT + '\n[[engines]]\nname = "other"\nkind = "local"\npartitions = ["this-machine"]\n'
    assert told(text) == [(len(text.splitlines()), "engines[1].partitions", "hub.duplicate-id")]


# --- a Slurm cluster ----------------------------------------------------------------------------------------------

NODES = c.ClusterPartition(
    id="gpu", names=("gpu", "flex"), kind="h100-sxm", core_kind="lab-core", gres="gpu:h100",
    nodes=8, devices=8, cores=96, memory_mb=1_000_000, idle_w=900, device_w=620, core_w=4,
)  # fmt: skip
CLUSTER = c.Cluster(
    engine="lab", cluster="lab", site="lasalle", zone="CA-QC", cap_w=60_000, cap_basis="assumed",
    conf="/etc/slurm/slurm.conf", partitions=(NODES, NODES.model_copy(update={"id": "cpu", "names": ("cpu",)})),
)  # fmt: skip
ON_SLURM = PLAIN.model_copy(
    update={
        "clusters": (CLUSTER,),
        "engines": (d.EngineOf(name="lab", kind="slurm", partitions=("gpu", "cpu")),),
    }
)


def test_a_hub_on_a_cluster_reads_back_what_it_wrote() -> None:
    back, complaints = d.parse(d.write(ON_SLURM).encode(), "f")
    assert complaints == []
    assert back == ON_SLURM
    assert back is not None and back.cluster is not None
    assert back.cluster.kinds == {"h100-sxm": "accelerator", "lab-core": "core"}


@pytest.mark.parametrize(
    ("old", "new", "start", "nth", "code"),
    [
        ('names = ["cpu"]', 'names = ["flex"]', 'names = ["flex"]', 0, "hub.duplicate-id"),
        ('id = "cpu"', 'id = "gpu"', "partitions = ", 0, "hub.duplicate-id"),
        ('gres = "gpu:h100"', "", "[[clusters.partitions]]", 1, "value.missing"),
        ('gres = "gpu:h100"', 'gres = "gpu:h100;x"', "gres", 1, "value.pattern"),
        ("cap_w = 60000", "cap_w = 14399", "cap_w = 14399", 0, "value.bound"),
        ('conf = "/etc', 'conf = "etc', "conf", 0, "value.pattern"),
        ('transport = "commands"', 'transport = "rest"', "[[clusters]]", 0, "value.missing"),
        ('cluster = "lab"', 'cluster = "-lab"', "cluster = ", 0, "value.pattern"),
        ('engine = "lab"', 'engine = "bal"', "engine", 0, "hub.unknown-reference"),
        ('kind = "slurm"', 'kind = "local"', "partitions = ", 0, "hub.unknown-reference"),
    ],
)
def test_a_broken_cluster_is_told_at_its_line(old: str, new: str, start: str, nth: int, code: str) -> None:
    head, mark, tail = d.write(ON_SLURM).rpartition(old)
    assert mark, old
    text = head + new + tail
    if old == 'id = "cpu"':
        text = text.replace('partitions = ["gpu", "cpu"]', 'partitions = ["gpu", "gpu"]')
    lines = [i for i, line in enumerate(text.splitlines(), 1) if line.startswith(start)]
    assert (lines[nth], code) in [(line, one) for line, _, one in told(text)], told(text)


def test_the_grids_files_are_named_once_a_zone() -> None:
    files = d.GridFiles(zone="LU", actual="grid/lu.csv")
    text = d.write(PLAIN.model_copy(update={"grid": (files, files.model_copy(update={"zone": "FR"}))}))
    back, complaints = d.parse(text.encode(), "f")
    assert complaints == []
    assert back is not None
    assert [(g.zone, g.actual, g.forecast) for g in back.grid] == [
        ("LU", "grid/lu.csv", None), ("FR", "grid/lu.csv", None),
    ]  # fmt: skip
    twice = text.replace('zone = "FR"', 'zone = "LU"')
    second = [i for i, line in enumerate(twice.splitlines(), 1) if line == 'zone = "LU"'][1]
    assert told(twice) == [(second, "grid[1].zone", "hub.duplicate-id")]
    assert told(text.replace('zone = "FR"', 'zone = "France"'))[0][2] == "value.pattern"


def test_a_stranger_file_never_raises(tmp_path: Path) -> None:
    strange: list[bytes] = [
        b"",
        b"\0",
        b"\xff",
        b"a=" + b"[" * 10_000,
        b".".join([b"a"] * 20_000) + b"=1",
        b"a=" + b"9" * 20_000,
        b"a=1979-05-27T07:32:00",
        b"x" * (d.MOST_BYTES + 1),
        TEXT.replace("\n", "\r\n").encode() + b"\x1b[2J",
    ]
    for raw in strange:
        deployment, complaints = d.parse(raw, "f")
        assert deployment is None
        assert complaints and all(say(c, "fr") for c in complaints)
    for path in (tmp_path, tmp_path / "nothing"):
        assert d.read(path)[0] is None


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_noise_is_told(raw: bytes) -> None:
    deployment, complaints = d.parse(raw, "f")
    assert deployment is None and complaints


@given(st.data())
@settings(max_examples=60)
def test_a_mutilated_file_is_told_or_means_what_it_says(data: Any) -> None:
    start = data.draw(st.integers(0, len(TEXT)))
    end = data.draw(st.integers(start, min(len(TEXT), start + 30)))
    text = TEXT[:start] + data.draw(st.text(max_size=10)) + TEXT[end:]
    deployment, complaints = d.parse(text.encode("utf-8", "replace"), "f")
    assert (deployment is None) == bool(complaints)
    if deployment is not None:
        assert d.parse(d.write(deployment).encode(), "f") == (deployment, [])
