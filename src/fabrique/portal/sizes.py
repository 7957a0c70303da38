"""How much a request may bring: told before anything of it is read, and never written to a disk."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.core.files.uploadhandler import MemoryFileUploadHandler, StopUpload
from django.http import HttpRequest

SLACK: Final = 64 * 1024  # the parts' headers, and the fields beside a file


def is_too_large(request: HttpRequest) -> bool:
    """Longer than the limit, or of a length that is not told."""
    told = str(request.META.get("CONTENT_LENGTH") or "")
    if "HTTP_TRANSFER_ENCODING" in request.META:
        return True
    if not told:
        return False
    readable = told.isascii() and told.isdigit() and len(told) <= 18
    return not readable or int(told) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE + SLACK


class MemoryOnly(MemoryFileUploadHandler):
    """Keeps a file in memory, up to the limit; the upload ends where it goes beyond."""

    kept = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        self.kept += len(raw_data)
        if not self.activated or self.kept > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
            raise StopUpload(connection_reset=True)
        return super().receive_data_chunk(raw_data, start)
