"""Finished chunks on disk: lossless frames, and the resume point after them, to continue an interrupted video."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from infinitetalk.conditioning.audio import SAMPLE_RATE, Waveform
from infinitetalk.conditioning.audio_encoder import FPS
from infinitetalk.pipeline import GeneratedChunk
from infinitetalk.sampling.resume_point import ResumePoint

# Without AVX-512, with which x264 may write other bytes for the same frames (x264 of PyAV 18.1, AMD EPYC).
X264 = {"x264-params": "asm=avx2", "flags": "+bitexact"}


class ChunkFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, chunk: GeneratedChunk) -> None:
        """Write the frames, then the resume point: the other order could lose frames in an interruption."""
        partial = self._frames(chunk.index).with_suffix(".partial")
        _encode(partial, iter(chunk.frames), chunk.frames.shape[1:3], "libx264rgb", {"qp": "0", **X264}, "matroska")
        partial.replace(self._frames(chunk.index))
        partial = self._resume_file(chunk.index).with_suffix(".partial")
        partial.write_bytes(chunk.resume_point.to_bytes())
        partial.replace(self._resume_file(chunk.index))

    def resume_point(self) -> ResumePoint | None:
        """After the last finished chunk; None when there is none."""
        finished = sorted(self.folder.glob("chunk-*.checkpoint"))
        return ResumePoint.from_bytes(finished[-1].read_bytes()) if finished else None

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """All frames in order, each H x W x 3."""
        for path in sorted(self.folder.glob("chunk-*.mkv")):
            with av.open(str(path)) as container:
                for frame in container.decode(container.streams.video[0]):
                    yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)

    def write_video(self, path: Path, sound: Waveform) -> int:
        """Write all frames and the sound (16 kHz) as H.264 and AAC in an mp4. Returns the number of frames."""
        frames = self.frames()
        first = next(frames)
        return _encode(
            path, _chain(first, frames), first.shape[:2], "libx264", {"crf": "18", **X264}, "mp4", sound=sound
        )

    def _frames(self, index: int) -> Path:
        return self.folder / f"chunk-{index:05d}.mkv"

    def _resume_file(self, index: int) -> Path:
        # The suffix of earlier versions, whose interrupted videos can be continued.
        return self.folder / f"chunk-{index:05d}.checkpoint"


def _chain(first: NDArray[np.uint8], rest: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    yield first
    yield from rest


def _encode(
    path: Path,
    frames: Iterator[NDArray[np.uint8]],
    size: tuple[int, ...],
    codec: str,
    options: dict[str, str],
    container_format: str,
    *,
    sound: Waveform | None = None,
) -> int:
    container_options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if sound is not None else {})}
    with av.open(str(path), "w", format=container_format, options=container_options) as container:
        video = cast(VideoStream, container.add_stream(codec, rate=FPS, options=options))
        video.height, video.width = size
        video.pix_fmt = "rgb24" if codec == "libx264rgb" else "yuv420p"
        audio = None
        if sound is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        count = 0
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = count
            container.mux(video.encode(frame))
            if audio is not None and sound is not None:
                block = sound[count * SAMPLE_RATE // FPS : (count + 1) * SAMPLE_RATE // FPS]
                block = np.pad(block, (0, SAMPLE_RATE // FPS - len(block)))
                audio_frame = av.AudioFrame.from_ndarray(block[None].astype(np.float32), format="fltp", layout="mono")
                audio_frame.sample_rate = SAMPLE_RATE
                audio_frame.pts = count * SAMPLE_RATE // FPS
                container.mux(audio.encode(audio_frame))
            count += 1
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    return count
