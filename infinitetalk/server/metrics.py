"""The model server's metrics for Prometheus."""

import time

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from infinitetalk.conditioning.audio_encoder import FPS
from infinitetalk.pipeline import GeneratedChunk
from infinitetalk.server.file_watch import FileWatch
from infinitetalk.server.loaded_model import LoadedModel, Readiness


class Metrics:
    def __init__(self, model: LoadedModel, files: FileWatch) -> None:
        self._registry = CollectorRegistry()
        self._renders = Counter(
            "infinitetalk_renders", "Attempts at renders, by outcome", ["outcome"], registry=self._registry
        )
        self._output = Counter("infinitetalk_output_seconds", "Seconds of new video", registry=self._registry)
        self._chunks = Histogram(
            "infinitetalk_chunk_seconds",
            "Seconds from one chunk of a render to the next",
            buckets=(1, 2.5, 5, 10, 15, 20, 25, 30, 45, 60, 120, 300),
            registry=self._registry,
        )
        self._last_time = time.monotonic()
        ready = Gauge("infinitetalk_ready", "1 once a model has been loaded", registry=self._registry)
        ready.set_function(lambda: model.readiness == Readiness.READY)
        loads = Gauge("infinitetalk_model_loads", "Transformers loaded since the start", registry=self._registry)
        loads.set_function(lambda: model.loads)
        unloadable = Gauge(
            "infinitetalk_unloadable_variants", "Variants whose files are missing or damaged", registry=self._registry
        )
        unloadable.set_function(lambda: len(files.unloadable()))
        if model.runtime.device.type == "cuda":
            peak = Gauge("infinitetalk_gpu_memory_peak_bytes", "Highest allocated GPU memory", registry=self._registry)
            peak.set_function(lambda: torch.cuda.max_memory_allocated(model.runtime.device))

    def began(self) -> None:
        self._last_time = time.monotonic()

    def rendered(self, chunk: GeneratedChunk) -> None:
        now = time.monotonic()
        self._chunks.observe(now - self._last_time)
        self._last_time = now
        self._output.inc(len(chunk.frames) / FPS)

    def ended(self, outcome: str) -> None:
        self._renders.labels(outcome).inc()

    def export(self) -> tuple[bytes, str]:
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
