"""What Slurm's queue says of a hold, and whose it is."""

from __future__ import annotations

import pytest
from tests.unit.slurm_fakes import FakeSlurm

from fabrique.engines.slurm.files.render import LET_GO, OWNER
from fabrique.operate.at_cluster import reason_of


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"reason": "JobHeldUser"}, "JobHeldAdmin"),  # by the door, at the submission
        ({"reason": "JobHeldUser", "admin_comment": OWNER}, "JobHeldUser"),
        ({"reason": "JobHeldUser", "comment": OWNER}, "JobHeldUser"),
        ({"reason": "JobHeldUser", "comment": LET_GO, "admin_comment": OWNER}, "JobHeldAdmin"),
        ({"reason": "JobHeldAdmin"}, "JobHeldAdmin"),
        ({"reason": "Resources", "priority": 10}, "Resources"),
    ],
)
def test_the_hub_s_hold_is_not_said_to_be_its_user_s(said: dict[str, str], expected: str) -> None:
    assert reason_of(FakeSlurm().add("train", **{"priority": 0, **said})) == expected
