import time

from django.core.files.base import File

from render.storage.backends.files import SignedFileStorage


class SlowStorage(SignedFileStorage):
    """Takes its time with a film."""

    def __init__(self, seconds: float, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._seconds = seconds

    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        if name.endswith(".mp4"):
            time.sleep(self._seconds)
        return super()._save(name, content)
