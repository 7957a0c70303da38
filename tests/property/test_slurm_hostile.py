"""No bytes that Slurm's side could send make a reader raise: what can't be read is kept, and hides nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.engines.slurm import batch, documents, names, rows, tres, words

TOKEN = "|0123456789abcdef|"
GOOD = {
    "JobID": "7",
    "Name": "train",
    "UserName": "alice",
    "Partition": "gpu",
    "State": "RUNNING",
    "SubmitTime": "1795986041",
    "StartTime": "1795986042",
    "NodeList": "gpu01",
    "tres-alloc": "cpu=1,mem=100M,node=1,gres/gpu=1",
    "exit_code": "0:0",
}
values = st.text(st.characters(exclude_characters="\0"), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
    max_leaves=25,
)


def squeue_row(fields: dict[str, str]) -> bytes:
    parts = [fields.get(name, "") for name in rows.QUEUE]
    return f"{TOKEN.join(parts)}{TOKEN}{rows.END}\n".encode("utf-8", "surrogatepass")


@given(st.binary(max_size=400))
def test_no_bytes_stop_a_reader(data: bytes) -> None:
    for found, unread in (
        rows.queue(data, rows.QUEUE, TOKEN),
        rows.records(data, rows.RECORDS, TOKEN),
        rows.nodes(data),
    ):
        assert isinstance(found, list) and all(isinstance(one.raw, bytes) for one in unread)


@given(st.dictionaries(st.sampled_from(rows.QUEUE), values, max_size=12))
def test_one_hostile_row_hides_no_other(hostile: dict[str, str]) -> None:
    output = squeue_row(GOOD) + squeue_row(GOOD | hostile) + squeue_row(GOOD | {"JobID": "8"})
    found, unread = rows.queue(output, rows.QUEUE, TOKEN)
    assert len(found) + len(unread) == 3
    assert {7, 8} <= {job.job_id for job in found}


@given(values, values)
def test_a_name_or_comment_never_speaks_for_a_field(name: str, comment: str) -> None:
    found, unread = rows.queue(squeue_row(GOOD | {"Name": name, "Comment": comment}), rows.QUEUE, TOKEN)
    assert not unread
    assert (found[0].job_id, found[0].user, found[0].state) == (7, "alice", "RUNNING")
    assert found[0].name == name.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


@given(st.integers(0, 2_000))
def test_an_answer_cut_short_is_known_to_be(cut: int) -> None:
    whole = squeue_row(GOOD) + squeue_row(GOOD | {"JobID": "8"})
    found, unread = rows.queue(whole[:cut], rows.QUEUE, TOKEN)
    assert len(found) == whole[:cut].count(f"{rows.END}\n".encode())
    assert bool(unread) == bool(whole[:cut].rpartition(f"{rows.END}\n".encode())[2].strip())


@given(st.lists(JSON, max_size=4) | JSON)
def test_no_document_stops_a_reader(elements: Any) -> None:
    for read in (documents.queued_job, documents.record, documents.node):
        if isinstance(elements, list):
            found, unread = documents.every(elements, read)
            assert len(found) + len(unread) == len(elements)
        else:
            with pytest.raises(ValueError):
                documents.every(elements, read)


JOB = {"job_id": 7, "job_state": ["RUNNING"], "submit_time": {"set": True, "infinite": False, "number": 1795986041}}


@given(st.dictionaries(st.sampled_from([*JOB, "nodes", "tres_alloc_str", "exit_code", "array_task_string"]), JSON))
def test_no_field_of_a_wrong_type_stops_a_reader(hostile: dict[str, Any]) -> None:
    element = json.loads(json.dumps(JOB | hostile, default=str).replace("NaN", "null").replace("Infinity", "0"))
    found, unread = documents.every([element, JOB], documents.queued_job)
    assert len(found) + len(unread) == 2 and found[-1].job_id == 7


@given(st.text(max_size=120))
def test_words_raise_nothing_but_a_value_error(text: str) -> None:
    readers = (words.number, words.instant_ms, words.duration_ms, words.job_state, words.node_state, words.exit_of)
    for read in (*readers, names.nodes, names.tasks, tres.read, tres.millijoules, tres.licences):
        with contextlib.suppress(ValueError):
            read(text)


@given(st.text(max_size=2_000))
def test_what_is_written_beside_a_job_is_one_line(text: str) -> None:
    line = batch.line(text)
    assert line.isprintable() and len(line) <= 1_000
