"""A contact sheet of mouths: twelve frames of a talking portrait through one sentence, to be looked at.

    make mouths OUT=folder PORTRAIT=me.png

Numbers do not tell whether a mouth looks alive. Each frame is the extreme of its twelfth of the sentence, in turn the
widest, the most rounded and the most closed; it is labelled with the pose that the voice asks for.
"""

import argparse
import tempfile
import wave
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from creatorify.demo.media import write_portrait, write_speech
from render.engines.draft.talking_portrait import TalkingPortrait
from render.engines.draft.voice_features import SAMPLE_RATE, SpeechTrack, speech_track
from render.engines.faces import Face, FaceFinder, RgbImage
from render.engines.speaking_faces import speaking_faces
from render.frame.fit import fit

SIDE = 640  # pixels of a frame
FRAMES, COLUMNS = 12, 4
SCALE = 3
AROUND = (0.95, 0.6, 1.1)  # mouth widths that are shown beside, above and below the middle of the mouth
SECONDS = 8.0


def chosen_frames(speech: SpeechTrack) -> list[int]:
    """The extremes of the twelfths of the voice: in turn the widest, the most rounded and the most closed frame."""
    open_and_round = speech.opening * (0.3 - speech.spread)
    curves = (speech.opening, open_and_round, -speech.opening)
    parts = np.array_split(np.arange(len(speech.opening)), FRAMES)
    return [int(part[np.argmax(curves[number % 3][part])]) for number, part in enumerate(parts)]


def mouth_crop(frame: RgbImage, face: Face, label: str) -> RgbImage:
    """The mouth with the chin, enlarged, with a label at its top."""
    corners = face.points[[61, 291]]
    width = float(np.linalg.norm(corners[1] - corners[0]))
    x, y = map(float, corners.mean(axis=0))
    beside, above, below = (round(share * width) for share in AROUND)
    left, top = max(round(x) - beside, 0), max(round(y) - above, 0)
    crop = frame[top : round(y) + below, left : round(x) + beside]
    enlarged = cv2.resize(crop, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    cv2.putText(enlarged, label, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 3, cv2.LINE_AA)
    cv2.putText(enlarged, label, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(enlarged, np.uint8)


def sheet(crops: list[RgbImage]) -> NDArray[np.uint8]:
    rows = [np.hstack(crops[start : start + COLUMNS]) for start in range(0, len(crops), COLUMNS)]
    return np.vstack(rows)


def portrait_sheet(image: RgbImage, voice: Path) -> NDArray[np.uint8]:
    face = speaking_faces(FaceFinder().find(image), 1, [], image)[0]
    with wave.open(str(voice)) as recording:
        seconds = min(recording.getnframes() / recording.getframerate(), SECONDS)
    speech = speech_track(voice, int(seconds * 25))
    portrait = TalkingPortrait(image, [face], [], [speech], seed=7)
    crops = [
        mouth_crop(portrait.frame(index, {}), face, f"{index}: {speech.opening[index]:.2f} {speech.spread[index]:+.2f}")
        for index in chosen_frames(speech)
    ]
    return sheet(crops)


def write_voice(path: Path) -> Path:
    """The demo's sentence with the sample rate that the engine reads."""
    spoken = write_speech(path)
    with wave.open(str(spoken)) as recording:
        rate = recording.getframerate()
        samples = np.frombuffer(recording.readframes(recording.getnframes()), dtype="<i2")
    times = np.arange(int(len(samples) * SAMPLE_RATE / rate)) * rate / SAMPLE_RATE
    with wave.open(str(path), "wb") as voice:
        voice.setnchannels(1)
        voice.setsampwidth(2)
        voice.setframerate(SAMPLE_RATE)
        voice.writeframes(np.interp(times, np.arange(len(samples)), samples).astype("<i2").tobytes())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mouths", description="A contact sheet of mouths.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    parser.add_argument("portraits", type=Path, nargs="*", help="pictures of one face; without any, the demo's")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        voice = write_voice(Path(folder) / "voice.wav")
        for path in arguments.portraits or [write_portrait(Path(folder) / "demo.jpg")]:
            image = np.ascontiguousarray(fit(np.asarray(Image.open(path).convert("RGB")), SIDE, SIDE))
            result = arguments.out / f"{path.stem}.png"
            Image.fromarray(portrait_sheet(image, voice)).save(result)
            print(result)


if __name__ == "__main__":
    main()
