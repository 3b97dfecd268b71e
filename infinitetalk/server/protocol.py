"""A job of the model server, as it comes over the socket.

A rolling upgrade replaces the model servers before the workers: the keys of the message must stay those of the version
before, and a new key must be optional.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infinitetalk.conditioning.source import Crop
from infinitetalk.errors import InvalidInput
from infinitetalk.sampling.resume_point import ResumePoint
from infinitetalk.sampling.settings import Settings
from infinitetalk.server.variants import Variant


@dataclass(frozen=True)
class RenderJob:
    render_id: str
    attempt: int  # the fencing token: it grows with each claim of the render
    lease_seconds: float  # without an extension, the render ends after this time
    source: Path  # an image, or a video at 25 frames a second
    voices: tuple[Path, ...]  # left to right, each as long as the whole video
    prompt: str
    seed: int
    size: tuple[int, int]  # height, width
    num_frames: int
    variant: Variant
    settings: Settings
    resume_point: ResumePoint | None  # key `checkpoint`
    crop: Crop | None = None  # the part of the source that is shown; None: its center

    @classmethod
    def from_message(cls, message: Any) -> "RenderJob":
        """Raises InvalidInput `malformed`, `lora_unknown`, `speakers_invalid` or `checkpoint_invalid`."""
        try:
            height, width = message["size"]
            return cls(
                render_id=str(message["render_id"]),
                attempt=int(message["attempt"]),
                lease_seconds=float(message["lease_seconds"]),
                source=Path(message["source"]),
                voices=tuple(Path(voice) for voice in message["voices"]),
                prompt=str(message["prompt"]),
                seed=int(message["seed"]),
                size=(int(height), int(width)),
                num_frames=int(message["num_frames"]),
                variant=Variant(len(message["voices"]), message["lora"], float(message["lora_scale"])),
                settings=Settings(**message["settings"]),
                resume_point=ResumePoint.from_bytes(message["checkpoint"]) if message["checkpoint"] else None,
                crop=_crop(message.get("crop")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("malformed", f"The job cannot be read: {error!r}") from error


def _crop(message: Any) -> Crop | None:
    if message is None:
        return None
    top, left, height, width = map(int, message)
    if min(top, left) < 0 or min(height, width) < 1:
        raise ValueError("a crop without pixels")
    return top, left, height, width
