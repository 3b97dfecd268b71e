"""Local media files that are either whole or not there."""

import contextlib
import os
import uuid
from pathlib import Path

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage


class AtomicFileSystemStorage(FileSystemStorage):
    """Writes under another name and renames: a killed writer leaves no torn file under a name that others trust."""

    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        final = Path(self.path(name))
        partial: str = super()._save(f"{name}.{uuid.uuid4().hex}.partial", content)  # type: ignore[misc]
        try:
            os.replace(self.path(partial), final)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(partial))
            raise
        return name
