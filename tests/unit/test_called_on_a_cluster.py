"""What things are called on a cluster: a job by its id there, a project by its account, in every word and command."""

from __future__ import annotations

import pytest
from tests.unit.clusters import ClusterBench
from tests.unit.scripted import T0

from fabrique.apps.jobs import services as jobs
from fabrique.apps.jobs.queue import queue_for
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Role
from fabrique.apps.provision.models import GivenName, NameSort, Place
from fabrique.apps.provision.services import sbatch_line
from fabrique.apps.reports.reading import jobs_of
from fabrique.cli import waiting
from fabrique.cli.context import Desk
from fabrique.cli.queue import following, frame
from fabrique.cli.serve import Teller
from fabrique.cli.shared import Call
from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm.model import Tres
from fabrique.language.say import Speaker

pytestmark = pytest.mark.django_db


def test_people_name_a_job_as_their_cluster_does(bench: ClusterBench) -> None:
    ours = bench.submit(accelerators="4", kinds="h100-sxm")
    bench.slurm.sbatch(ours.number)  # the same number at both doors
    bench.turn()
    theirs = bench.row(str(ours.number))
    assert theirs.number != ours.number
    assert jobs.find_named(str(ours.number)) == theirs
    assert jobs.find_named(f"job:{ours.number}") == ours
    for job in (ours, theirs):
        assert jobs.find_named(jobs.name_of(job)) == job
    for wrong in ("job:", "job:x", "12_", "-1", "", str(theirs.number)):  # a slip that `cancel` must not follow
        with pytest.raises(FabriqueError, match=r"job\.missing"):
            jobs.find_named(wrong)
    alone = bench.submit(accelerators="1", kinds="h100-sxm")
    assert jobs.find_named(str(alone.number)) == alone


def test_an_array_is_no_job_and_names_its_tasks(bench: ClusterBench) -> None:
    """squeue shows `N_[1-5%2]`: its tasks are jobs, those behind its bound too, and job N here is another."""
    n = bench.submit(accelerators="1", kinds="h100-sxm").number
    bench.slurm.sbatch(n, array_id=n, task_ids=(1, 2, 3, 4, 5), tasks_at_once=2)
    bench.turn()
    for task in range(1, 6):
        assert jobs.find_named(f"{n}_{task}").outside_id == f"{n}_{task}"
    for unmet in (f"{n}", f"{n}_6", f"{n}_[3-5]"):
        with pytest.raises(FabriqueError) as raised:
            jobs.find_named(unmet)
        assert raised.value.code == "job.array"
        assert raised.value.params == {"array": str(n), "tasks": [f"{n}_{task}" for task in range(1, 6)]}


def test_a_project_is_told_how_sbatch_names_it(bench: ClusterBench) -> None:
    (allocation,) = bench.project.allocations.all()
    assert sbatch_line(allocation.pk) == "#SBATCH --account=proteins"
    qos = GivenName.objects.create(engine="lab", sort=NameSort.QOS, name="fast", project=bench.project, given_ms=T0)
    Place.objects.update(qos=qos)
    assert sbatch_line(allocation.pk) == "#SBATCH --account=proteins --qos=fast"
    Place.objects.all().delete()
    assert sbatch_line(allocation.pk) == ""


def test_a_job_that_another_waits_behind_is_called_as_the_cluster_does(bench: ClusterBench) -> None:
    four, whole = Tres(cores=4, nodes=1, gpus={"": 4}), Tres(cores=4, nodes=2, gpus={"": 8})
    bench.slurm.sbatch(90, asked=four)
    bench.turn()
    bench.slurm.sbatch(91, submitted_ms=T0 + 1, asked=whole)
    bench.slurm.sbatch(92, submitted_ms=T0 + 2, asked=four, limit_ms=1_200_000)
    bench.turn()
    assert bench.row("92").reason == {"code": "wait.behind", "job": "91"}
    assert "91" in bench.slurm.shown[bench.row("92").handle]


def test_a_sentence_takes_no_job_of_the_hub_for_one_of_the_cluster(
    bench: ClusterBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own job N waits for job N of the cluster: it waits behind another, not behind itself."""
    monkeypatch.setattr(waiting, "at_cluster", lambda desk, job: None)
    ours = bench.submit(accelerators="1", kinds="h100-sxm")
    bench.slurm.sbatch(ours.number)
    waiting.tell(Desk(Call(), bench.here, Speaker("en")), ours)
    bench.turn()
    waiting.tell(Desk(Call(), bench.here, Speaker("en")), bench.row(str(ours.number)))
    said = capsys.readouterr().out
    assert f"Job job:{ours.number} (" in said and f"Job {ours.number} (train)" in said


def test_the_loop_says_which_job_starts_as_squeue_does(bench: ClusterBench, capsys: pytest.CaptureFixture[str]) -> None:
    n = bench.submit(accelerators="1", kinds="h100-sxm").number
    bench.slurm.sbatch(n, array_id=n, task_ids=(4,))
    desk = Desk(Call(), bench.here, Speaker("en"))
    turn = bench.turn()
    assert bench.row(f"{n}_4") in turn.started
    Teller(desk).tell(turn)
    said = capsys.readouterr().out
    assert f"Job {n}_4 starts." in said and f"Job job:{n} starts." in said


def test_the_queue_and_its_hint_call_a_job_as_squeue_does(bench: ClusterBench) -> None:
    """The hub's own number of one is the cluster's id of another: the hint must not lead there."""
    operator = people.create_person("Op", "op@x.example", now=T0)
    people.grant_role(operator, Role.OPERATOR, people.create_organisation("Room", "operator", "CA", now=T0), now=T0)
    desk = Desk(Call(acting=operator.email), bench.here, Speaker("en", "America/Toronto"))
    whole = Tres(cores=4, nodes=2, gpus={"": 8})
    earlier = bench.submit(accelerators="1", kinds="h100-sxm")
    jobs.cancel(earlier, bench.person, now=bench.now)
    first, second = earlier.number + 1, earlier.number + 2  # our numbers; theirs are the other way round
    for job_id in (second, first):
        bench.slurm.sbatch(job_id, submitted_ms=T0 - job_id, asked=whole, name=f"job-{job_id}")
    bench.turn()
    runs, waits = bench.row(str(second)), bench.row(str(first))
    assert (runs.number, waits.number) == (first, second)
    seen = queue_for(operator, now=bench.now)
    table = "\n".join(text for text, _ in frame(desk, seen, 50, 200))
    assert table.index(f"{second}  job-{second}") < table.index(f"{first}  job-{first}")
    assert "chosen by the hub" not in table and "full" in table  # nobody lowers what did not consent
    assert following(desk, seen)[1].endswith(f" why {first}")
    jobs.cancel(waits, operator, now=bench.now)
    assert following(desk, queue_for(operator, now=bench.now))[1].endswith(f" why {second}")  # its log is not here


def test_why_tells_the_run_before_from_the_wait_of_now(
    bench: ClusterBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A requeued job waits, and what ended, and what it cost, is its attempt before."""
    monkeypatch.setattr(waiting, "at_cluster", lambda desk, job: None)
    bench.slurm.sbatch(5)
    bench.turn()
    bench.slurm.starts(5, bench.now)
    bench.turn()
    waiting.tell(Desk(Call(), bench.here, Speaker("en")), bench.row("5"))
    assert "Attempt before" not in capsys.readouterr().out
    bench.slurm.ends(5, bench.now + 10_000, cause="preempted")
    bench.slurm.sbatch(5, submitted_ms=T0 + 20_000, priority=0, dependency="afterok:4")
    bench.turn(20_000)
    bench.turn()
    assert bench.row("5").status == "pending"
    waiting.tell(Desk(Call(), bench.here, Speaker("en")), bench.row("5"))
    said = capsys.readouterr().out
    assert said.index("Attempt before") < said.index("Started") < said.index("Ended")
    assert bench.row("5").runs.get().reason["code"] == "end.requeued"  # nothing took its place


def test_a_statement_calls_a_job_as_the_cluster_does(bench: ClusterBench) -> None:
    bench.slurm.sbatch(4711)
    own = bench.submit(accelerators="1", kinds="h100-sxm")
    bench.turn()
    holds = [str(job.runs.get().hold) for job in (bench.row("4711"), own)]
    assert jobs_of([*holds, "meter"]) == {holds[0]: "4711", holds[1]: str(own.number)}
