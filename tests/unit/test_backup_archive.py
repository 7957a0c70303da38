"""Archives that are no backup: refused before anything is changed."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fabrique.core.errors import FabriqueError
from fabrique.operate import backup

FILES = {
    "fabrique.toml": b"\xff[[",
    "keys/ledger.key": b"00",
    "keys/django.key": b"k",
    "database.sqlite3": b"no database",
}


def archive(path: Path, contents: dict[str, bytes], **manifest: Any) -> Path:
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    told = {"format": backup.FORMAT, "files": sums, "at_ms": 1, "database": "database.sqlite3", **manifest}
    with tarfile.open(path, "w:gz") as out:
        for name, data in {**contents, backup.MANIFEST: json.dumps(told).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("missing", "manifest"),
    [
        (None, {}),  # its deployment can't be read
        ("keys/ledger.key", {}),
        ("keys/django.key", {}),
        ("database.sqlite3", {}),
        (None, {"at_ms": 10**30}),
        (None, {"at_ms": -1}),
        (None, {"at_ms": "1"}),
        (None, {"files": {}}),
        (None, {"format": "other"}),
    ],
)
def test_nothing_is_changed_by_what_is_no_backup(tmp_path: Path, missing: str | None, manifest: dict[str, Any]) -> None:
    files = {name: data for name, data in FILES.items() if name != missing}
    home = tmp_path / "home"
    with pytest.raises(FabriqueError) as caught:
        backup.restore(archive(tmp_path / "a.tar.gz", files, **manifest), home, now=2)
    assert caught.value.code == "backup.broken"
    assert not home.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]
