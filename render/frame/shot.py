"""The shot: size, shown part and speakers of a video, decided once and the same for every engine.

Plain arithmetic: `POST /projects` decides it for a source that is an asset, whose faces are known, and the step
`prepare` for every source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infinitetalk.buckets import Size
from render.engines import no_face
from render.frame.boxes import WHOLE, Box, Crop, PixelBox
from render.frame.framing import NEGLIGIBLE, Framing, choose_framing
from render.frame.size import SOURCE, frame_size, upscaled_size
from render.frame.speakers import PARAM, Speakers, choose_speakers
from render.parameters import TRANSPARENT, Parameters
from render.sources import SourceWarning

# Pixels across a face in the frame. Narrower ones cannot be moved by the draft, and are framed as scenery.
MIN_FACE = 60.0
MIN_REGION = 20  # pixels of the frame: of anything narrower, the masks of the model may keep nothing
SMALL_FACE = 100.0  # pixels across a face: its mouth then has about 33, too few to look right


@dataclass(frozen=True)
class Source:
    """What a render starts from, and the faces in it."""

    size: Size  # height and width in pixels
    faces: tuple[Box, ...] = ()  # those that its edge does not cut off, the widest first
    turned: tuple[int, ...] = ()  # the indices of those that are turned too far away to be moved
    cut_off: tuple[Box, ...] = ()  # those that its edge cuts off

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Source | None":
        """facts: of an uploaded file, as `as_facts` makes them; None if they are older than this search for faces."""
        if "source_size" not in facts:
            return None
        height, width = facts["source_size"]
        faces, cut_off = (tuple(map(Box.from_json, facts[name])) for name in ("faces", "cut_off"))
        return cls((height, width), faces, tuple(facts["turned"]), cut_off)

    def as_facts(self) -> dict[str, Any]:
        """As JSON can express it."""
        return {
            "source_size": list(self.size),
            "faces": [face.as_json() for face in self.faces],
            "turned": list(self.turned),
            "cut_off": [face.as_json() for face in self.cut_off],
        }

    @property
    def facing(self) -> list[Box]:
        """The faces that look at the camera."""
        return [face for number, face in enumerate(self.faces) if number not in self.turned]


@dataclass(frozen=True)
class Shot:
    size: Size  # of the engine's frames: height and width in pixels, multiples of 16
    source_size: Size  # height and width in pixels
    framing: Framing
    speakers: Speakers
    warnings: tuple[SourceWarning, ...] = ()
    crop_shown: Box | None = None  # the part of the source that is shown, as the API tells it; None: all of it

    @property
    def crop(self) -> Crop | None:
        return self.framing.crop

    @property
    def faces_in_frame(self) -> tuple[Box, ...]:
        """By voice, the faces that the customer has chosen, as shares of the frame."""
        return self.speakers.seen_from(self.framing.shown).faces

    @property
    def regions(self) -> tuple[tuple[PixelBox, ...], ...]:
        """As `RenderPlan.regions` describes it."""
        speakers, (height, width) = self.speakers, self.source_size
        if self.crop is not None:
            speakers, (height, width) = speakers.seen_from(self.framing.shown), self.crop[2:]
        by_speaker: list[tuple[Box, ...]] = [(region,) for region in speakers.regions]
        if speakers.others:
            by_speaker.append(speakers.others)
        if len(by_speaker) < 2:
            return ()
        return tuple(tuple(box.in_pixels(height, width) for box in boxes) for boxes in by_speaker)

    def as_frame(self, size: Size, parameters: Parameters) -> dict[str, Any]:
        """`Render.frame`: what the API shows of it, and whether a transparent video is made, which takes its time.

        size: of the engine's frames.
        """
        height, width = upscaled_size(size, parameters)
        crop = self.crop_shown.as_json() if self.crop_shown else None
        is_transparent = parameters.background == TRANSPARENT
        return {"width": width, "height": height, "crop": crop, "transparent": is_transparent}

    def composed(self, *, at_bottom: bool = False) -> "Shot":
        """The same shot of a source that has been made into a frame already. at_bottom: where a padded source lies."""
        shown = self.framing.shown
        if at_bottom and self.framing.is_padded:
            shown = replace(shown, y=1 - shown.height)
        speakers = self.speakers.seen_from(shown)
        return replace(self, source_size=self.size, framing=Framing(None, WHOLE), speakers=speakers)


def plan_shot(
    source: Source,
    parameters: Parameters,
    requested: Sequence[Mapping[str, Any]],
    *,
    num_voices: int,
    pixels: int,
) -> Shot:
    """requested: the `speakers` of the request. pixels: of the engine's frames, about.

    Raises ServiceError `no_face` for faces too far apart or too small, and what `choose_speakers` raises.
    """
    size = frame_size(*source.size, parameters.aspect_ratio, pixels)
    speakers = choose_speakers(requested, source.faces, source.cut_off)
    # In pixels, if it is not padded.
    source_width_in_frame = max(size[0] / source.size[0], size[1] / source.size[1]) * source.size[1]
    shown = speakers.faces or [face for face in source.facing if face.width * source_width_in_frame >= MIN_FACE]
    framing = choose_framing(source.size, size, shown, num_voices, fit=parameters.fit)
    speakers = _in_view(speakers, framing, size)
    warnings = _warnings(source, size, framing, speakers, num_voices, parameters)
    if parameters.fit == "pad" and not framing.is_padded:
        detail = "It was not used: the image has the shape of the video already."
        warnings.append(SourceWarning(param="parameters.fit", code="unused", detail=detail))
    if parameters.upscale != "none" and upscaled_size(size, parameters) == size:
        detail = f"It was not used, and costs nothing: the video has {size[1]} x {size[0]} pixels already."
        warnings.append(SourceWarning(param="parameters.upscale", code="unused", detail=detail))
    crop_shown = framing.shown if framing.cut > NEGLIGIBLE else None
    return Shot(size, source.size, framing, speakers, tuple(warnings), crop_shown)


def require_usable_faces(source: Source, shot: Shot, *, num_voices: int) -> None:
    """Raise ServiceError `no_face` or `face_cropped` for an image in which the draft cannot move a face for each voice.

    A little more generous than the draft itself, which measures the faces in the frame more exactly.
    """
    if not source.faces:
        raise no_face.cropped() if source.cut_off else no_face.none_found()
    usable = [face for face in source.facing if shot.framing.width_in_frame(face, shot.size) >= MIN_FACE]
    if shot.speakers.faces:
        missing = [face for face in shot.speakers.faces if face not in usable]
    else:
        missing = list(source.faces[:1]) if len(usable) < num_voices else []
    if not missing:
        return
    if num_voices > 1 and len(usable) == 1 and not shot.speakers.faces:
        raise no_face.one_for_two_voices()
    width = shot.framing.width_in_frame(missing[0], shot.size)
    if width < MIN_FACE:
        raise no_face.too_small(width, MIN_FACE)
    raise no_face.turned_away()


def _in_view(speakers: Speakers, framing: Framing, size: Size) -> Speakers:
    """Without those who would keep still, but are not shown. Raises ServiceError `no_face` when one of two has no room
    in the model's masks.
    """

    def side(region: Box) -> int:
        top, left, bottom, right = region.seen_from(framing.shown).in_pixels(*size)
        return min(bottom - top, right - left)

    others = tuple(region for region in speakers.others if side(region) >= MIN_REGION)
    smallest = min(map(side, speakers.regions), default=MIN_REGION)
    if smallest < MIN_REGION and len(speakers.regions) + len(others) > 1:
        raise no_face.no_room(smallest, MIN_REGION, param=PARAM)
    return replace(speakers, others=others)


def _warnings(
    source: Source, size: Size, framing: Framing, speakers: Speakers, num_voices: int, parameters: Parameters
) -> list[SourceWarning]:
    warnings = []
    if framing.cut > NEGLIGIBLE:
        height, width = upscaled_size(size, parameters)
        detail = (
            f"{100 * framing.cut:.0f} % of the source is cut off in a video of {width} x {height} pixels. "
            "fit: pad shows all of it."
        )
        param = no_face.PARAM if parameters.aspect_ratio == SOURCE else "parameters.aspect_ratio"
        warnings.append(SourceWarning(param=param, code="cropped", detail=detail))
    faces = speakers.faces or source.facing[:num_voices]
    in_source = min((face.width * source.size[1] for face in faces), default=SMALL_FACE)
    in_frame = min((framing.width_in_frame(face, size) for face in faces), default=SMALL_FACE)
    if min(in_source, in_frame) < SMALL_FACE:
        if in_source < in_frame:
            detail = f"A face is {in_source:.0f} pixels wide in the image, which is enlarged; below {SMALL_FACE:.0f} it"
            detail += " looks blurred, and its lips coarse. Send a larger image."
        else:
            detail = f"A face is {in_frame:.0f} pixels wide in the rendered frame; below {SMALL_FACE:.0f} the lips look"
            detail += " coarse. Send a closer image, or choose a higher resolution."
        warnings.append(SourceWarning(param=no_face.PARAM, code="face_small", detail=detail))
    if speakers.others:
        number = len(speakers.others)
        detail = (
            f"{number} other {'face keeps' if number == 1 else 'faces keep'} still. For this a final video uses the "
            "model for two speakers, which may have to be loaded first."
        )
        warnings.append(SourceWarning(param=PARAM, code="others_keep_still", detail=detail))
    return warnings
