"""Reasons as the tables keep them: read again, also those of an earlier release."""

from __future__ import annotations

import pytest

from fabrique.core.reasons import REASONS, from_json, reason


@pytest.mark.parametrize("code", REASONS)
def test_each_is_read_again_as_it_was(code: str) -> None:
    one = reason(code, **dict.fromkeys(REASONS[code], "x"))
    assert from_json(one.as_json()) == one


def test_what_an_earlier_release_wrote_is_read_with_what_it_had() -> None:
    assert from_json({"code": "wait.array", "most": 2}) == reason("wait.array")
    assert from_json({"code": "wait.cluster", "time": 5}).params == {"why": None, "time": 5}
    with pytest.raises(ValueError, match="unknown reason"):
        from_json({"code": "wait.nothing"})
