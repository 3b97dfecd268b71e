"""A job of the model server, as it comes over the socket.

A rolling upgrade replaces the model servers before the workers: the keys of the message must stay those of the version
before, and a new key must be optional.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infinitetalk.conditioning.source import Crop
from infinitetalk.conditioning.speaker_masks import Box
from infinitetalk.errors import InvalidInput
from infinitetalk.sampling.resume_point import ResumePoint
from infinitetalk.sampling.settings import Settings
from infinitetalk.server.variants import Variant
from infinitetalk.video_end import VIDEO_ENDS

SpeakerBoxes = tuple[tuple[Box, ...], ...]  # the boxes of each speaker, in pixels of the source after its crop


@dataclass(frozen=True)
class RenderJob:
    render_id: str
    attempt: int  # the fencing token: it grows with each claim of the render
    lease_seconds: float  # without an extension, the render ends after this time
    source: Path  # an image, or a video at 25 frames a second
    voices: tuple[Path, ...]  # each as long as the whole video
    prompt: str
    seed: int
    size: tuple[int, int]  # height, width
    num_frames: int
    variant: Variant
    settings: Settings
    resume_point: ResumePoint | None  # key `checkpoint`
    crop: Crop | None = None  # the part of the source that is shown; None: its center
    # In the order of the voices; None: the left and the right half. The second of two speakers may have no voice: the
    # people who keep still. Where boxes overlap, see `infinitetalk.conditioning.speaker_masks`.
    speaker_boxes: SpeakerBoxes | None = None
    # What a source video shows past its end, see `infinitetalk.video_end`. Older workers do not send it: they expect
    # this.
    video_end: str = "hold"

    @classmethod
    def from_message(cls, message: Any) -> "RenderJob":
        """Raises InvalidInput `malformed`, `lora_unknown`, `speakers_invalid` or `checkpoint_invalid`."""
        try:
            height, width = message["size"]
            speaker_boxes = _speaker_boxes(message.get("speaker_boxes"), len(message["voices"]))
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
                variant=Variant(len(speaker_boxes or message["voices"]), message["lora"], float(message["lora_scale"])),
                settings=Settings(**message["settings"]),
                resume_point=ResumePoint.from_bytes(message["checkpoint"]) if message["checkpoint"] else None,
                crop=_crop(message.get("crop")),
                speaker_boxes=speaker_boxes,
                video_end=_video_end(message.get("video_end", "hold")),
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


def _speaker_boxes(message: Any, num_voices: int) -> SpeakerBoxes | None:
    if message is None:
        return None
    speakers = tuple(tuple(_box(box) for box in boxes) for boxes in message)
    if not all(speakers):
        raise ValueError("a speaker without a box")
    if num_voices == 0 or len(speakers) < num_voices:
        raise InvalidInput("speakers_invalid", "There must be a voice, and boxes for the speaker of each voice.")
    return speakers


def _box(message: Any) -> Box:
    top, left, bottom, right = map(float, message)
    if not (top < bottom and left < right):
        raise ValueError("a box without pixels")
    return top, left, bottom, right


def _video_end(message: Any) -> str:
    if message not in VIDEO_ENDS:
        raise ValueError(f"video_end is {message!r}")
    return str(message)
