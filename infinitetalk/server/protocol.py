"""What the model server is asked to render, as it comes over the socket."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infinitetalk.conditioning.source import Crop
from infinitetalk.errors import InvalidInput
from infinitetalk.pipeline import Settings
from infinitetalk.sampling.resume_point import Checkpoint
from infinitetalk.server.variants import Variant


@dataclass(frozen=True)
class RenderJob:
    render_id: str
    attempt: int  # the fencing token: it grows with each claim of the render
    lease_seconds: float  # without an extension, the render is given up after so long
    source: Path  # a picture, or a video at 25 frames a second
    voices: tuple[Path, ...]  # left to right, each as long as the scene
    prompt: str
    seed: int
    size: tuple[int, int]  # height, width
    num_frames: int
    variant: Variant
    settings: Settings
    checkpoint: Checkpoint | None
    crop: Crop | None = None  # what is shown of the source; None: its middle

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
                checkpoint=Checkpoint.from_bytes(message["checkpoint"]) if message["checkpoint"] else None,
                crop=_crop(message.get("crop")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("malformed", f"The job cannot be read: {error!r}") from error


def _crop(given: Any) -> Crop | None:
    if given is None:
        return None
    top, left, height, width = map(int, given)
    if min(top, left) < 0 or min(height, width) < 1:
        raise ValueError("a crop without pixels")
    return top, left, height, width
