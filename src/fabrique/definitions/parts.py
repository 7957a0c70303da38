"""What every part of the deployment's file is made of: strict tables, and the texts that may stand in them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
UNPRINTED: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff"  # what no text of the file may hold
Name = Annotated[str, Field(pattern=rf"^[^{UNPRINTED}]{{1,200}}$")]
Watts = Annotated[int, Field(ge=0, le=10**9)]
SlurmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Folders = Annotated[str, Field(pattern=rf"^/[^{UNPRINTED}:]*(:/[^{UNPRINTED}:]*)*$", max_length=4_000)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
