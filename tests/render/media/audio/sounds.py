"""What the tests of sound share: what was made of a voice, and what a player makes of a file."""

import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from render.media.audio.voice import normalise_voice


@dataclass(frozen=True)
class Made:
    mono: NDArray[np.float64]  # 16 kHz
    sound: NDArray[np.float64]  # channels x samples, as the film gets it
    rate: int  # Hz, of `sound`
    lost_seconds: float

    @property
    def seconds(self) -> float:
        return len(self.mono) / 16_000


def made_of(source: Path, *, max_seconds: float = 60) -> Made:
    wav, flac = source.with_name("made.wav"), source.with_name("made.flac")
    voice = normalise_voice(source, wav, max_seconds=max_seconds, param="audio_url", audio_flac=flac)
    with wave.open(str(wav)) as file:
        mono = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32_768
    with av.open(str(flac)) as container:
        stream = container.streams.audio[0]
        channels = stream.codec_context.channels
        blocks = [frame.to_ndarray().reshape(-1, channels).T / 32_768 for frame in container.decode(stream)]
        sound = np.concatenate(blocks, axis=1)
        assert voice.duration_seconds == len(mono) / 16_000
        return Made(mono, sound, stream.codec_context.sample_rate, voice.lost_seconds)


def played(source: Path) -> NDArray[np.float64]:
    """16 kHz mono, by FFmpeg's own filter for gaps between time stamps: `aresample=async=1:first_pts=0`."""
    with av.open(str(source)) as container:
        stream = container.streams.audio[0]
        start = (container.start_time or 0) / 1e6
        graph = Graph()
        nodes = [
            graph.add_abuffer(
                sample_rate=stream.rate, format=stream.format, layout=stream.layout, time_base=stream.time_base
            ),
            graph.add("aresample", "async=1:first_pts=0:min_hard_comp=0.05"),
            graph.add("aformat", "sample_fmts=flt:channel_layouts=mono:sample_rates=16000"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        blocks = []
        for frame in [*container.decode(stream), None]:
            if frame is not None:
                frame.pts = round(frame.pts - start / frame.time_base)
            graph.push(frame)
            while True:
                try:
                    blocks.append(graph.pull().to_ndarray()[0])
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
    return np.concatenate(blocks).astype(np.float64)


def loudness(samples: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def copied(source: Path, target: Path, keep: Callable[[float], bool] = lambda seconds: True, shift: float = 0) -> Path:
    """Its first track, of which the packets are kept whose time says so; each `shift` seconds later."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        track = old.streams[0]
        copy = new.add_stream_from_template(track)
        for packet in old.demux(track):
            if packet.size and keep(float(packet.pts * packet.time_base)):
                packet.pts += round(shift / packet.time_base)
                packet.dts += round(shift / packet.time_base)
                packet.stream = copy
                new.mux(packet)
    return target
