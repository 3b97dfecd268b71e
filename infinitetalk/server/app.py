"""The model server's interface: HTTP over a unix socket, messages in MessagePack.

    POST /renders                   a job in; a stream of messages out: waiting, alive, step, chunk, error, done
    POST /renders/{id}/{attempt}    {"lease_seconds": s}: extends the lease of an attempt
    GET  /health  /metrics          JSON; Prometheus

When a client closes its connection, its render ends within one denoising step.

The client is `render.engines.infinitetalk`. A rolling upgrade replaces the model servers before the workers: URLs,
keys, types of messages and error codes must stay those of the version before.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgpack
import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from infinitetalk.errors import InfiniteTalkError, InvalidCheckpoint, InvalidInput
from infinitetalk.pipeline import GeneratedChunk
from infinitetalk.server.file_watch import FileWatch
from infinitetalk.server.leases import Aborted, Lease, Leases, StaleToken
from infinitetalk.server.metrics import Metrics
from infinitetalk.server.model import ModelWorker
from infinitetalk.server.protocol import RenderJob

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 1.0  # longest time without a message to the client
LAST_MESSAGE_SECONDS = 5.0  # for a slow client to take the last message
LAST_TYPES = ("done", "error")
MESSAGE_PACK = "application/msgpack"
Message = dict[str, Any]


class ModelServer:
    def __init__(self, model: ModelWorker, on_fatal: Callable[[], None]) -> None:
        """on_fatal: called after a fault of the GPU, which only a new process can use again."""
        self._model = model
        self._on_fatal = on_fatal
        self._files = FileWatch(model)
        self._metrics = Metrics(model, self._files)
        self._leases = Leases()
        self._rendering: Lease | None = None
        self._gpu = asyncio.Lock()
        # One thread does all the rendering, because CUDA keeps handles for each thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="render")
        self._tasks: set[asyncio.Task[None]] = set()
        self.app = Starlette(
            routes=[
                Route("/renders", self.render, methods=["POST"]),
                Route("/renders/{render_id}/{attempt:int}", self.extend, methods=["POST"]),
                Route("/health", self.health),
                Route("/metrics", self.metrics),
            ],
            exception_handlers={InvalidInput: _error_handler(422), StaleToken: _error_handler(409)},
        )

    async def render(self, request: Request) -> Response:
        job = RenderJob.from_message(_unpack(await request.body()))
        lease = self._leases.begin(job.render_id, job.attempt, job.lease_seconds)
        # One chunk may wait here while the next is denoised; then rendering waits for the client. With the chunks of
        # the response, the socket and the renderer, at most four are in memory.
        messages: asyncio.Queue[Message] = asyncio.Queue(1)
        task = asyncio.create_task(self._run_job(job, lease, messages))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return StreamingResponse(self._stream(lease, messages), media_type=MESSAGE_PACK)

    async def extend(self, request: Request) -> Response:
        lease = self._leases.find(request.path_params["render_id"], request.path_params["attempt"])
        if lease is None:
            return _problem(404, "not_found", "This attempt is neither running nor waiting.")
        try:
            lease.extend(float(_unpack(await request.body())["lease_seconds"]))
        except (TypeError, KeyError, ValueError) as error:
            raise InvalidInput("malformed", "lease_seconds must be a number.") from error
        return Response(status_code=204)

    async def health(self, request: Request) -> Response:
        model, rendering = self._model, self._rendering
        return JSONResponse(
            {
                "state": "busy" if rendering else model.readiness,
                "render_id": rendering.render_id if rendering else None,
                "waiting": self._leases.active - (rendering is not None),
                "gpu": _gpu_name(model.runtime.device),
                "plan": model.plan.name,
                "attention": model.runtime.attention,
                "loads": model.loads,
                "variant": model.variant.name if model.variant else None,
                "unloadable": await asyncio.to_thread(self._files.unloadable),  # The first call waits for a check.
            }
        )

    async def metrics(self, request: Request) -> Response:
        body, content_type = await asyncio.to_thread(self._metrics.export)
        return Response(body, media_type=content_type)

    async def _stream(self, lease: Lease, messages: "asyncio.Queue[Message]") -> AsyncIterator[bytes]:
        following: asyncio.Future[Message] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(messages.get())
                await asyncio.wait({following}, timeout=ALIVE_SECONDS)
                message = {"type": "alive" if self._rendering is lease else "waiting"}
                if following.done():
                    message, following = following.result(), None
                yield msgpack.packb(message)
                if message["type"] in LAST_TYPES:
                    return
        finally:
            if following is not None:
                following.cancel()
            lease.abort("the client has gone away")

    async def _run_job(self, job: RenderJob, lease: Lease, messages: "asyncio.Queue[Message]") -> None:
        loop = asyncio.get_running_loop()

        def send(message: Message) -> None:
            """Called in the rendering thread; waits until the queue has room. Raises Aborted."""
            room = asyncio.run_coroutine_threadsafe(messages.put(message), loop)
            while True:
                try:
                    return room.result(timeout=0.5)
                except TimeoutError:
                    try:
                        lease.check()
                    except Aborted:
                        room.cancel()
                        raise

        def report_step(chunk: int, step: int) -> None:
            """Called in the rendering thread; the message is dropped when the queue has no room."""
            message = {"type": "step", "chunk": chunk, "step": step, "steps": job.settings.steps_made}
            loop.call_soon_threadsafe(_put_if_room, messages, message)

        try:
            async with self._gpu:
                self._rendering = lease
                try:
                    end = await loop.run_in_executor(self._thread, self._render, job, lease, send, report_step)
                finally:
                    self._rendering = None
        finally:
            self._leases.end(lease)
        self._metrics.ended(end.get("code", "done"))
        await asyncio.wait({asyncio.ensure_future(messages.put(end))}, timeout=LAST_MESSAGE_SECONDS)
        if end.get("code") == "gpu_failed":
            self._on_fatal()

    def _render(
        self,
        job: RenderJob,
        lease: Lease,
        send: Callable[[Message], None],
        report_step: Callable[[int, int], None],
    ) -> Message:
        """Runs in the rendering thread. Returns the last message, which says how the render ended."""
        name = f"Render {job.render_id} attempt {job.attempt}"
        self._metrics.began()
        try:
            with contextlib.closing(self._model.render(job, lease.check, report_step)) as chunks:
                for chunk in chunks:
                    self._metrics.rendered(chunk)
                    send(_chunk_message(chunk))
        except Aborted as aborted:
            logger.info("%s aborted: %s", name, aborted)
            return {"type": "error", "code": "aborted", "detail": str(aborted)}
        except InvalidCheckpoint as error:
            logger.error("%s: %s: %s", name, error.code, error.detail)
            self._files.check()  # Now, so that the worker does not claim another render with the same file.
            return {"type": "error", "code": "model_file_missing", "detail": error.detail}
        except InfiniteTalkError as error:
            logger.warning("%s: %s: %s", name, error.code, error.detail)
            code = "machine_failed" if _no_descriptors(error.__cause__) else error.code
            return {"type": "error", "code": code, "detail": error.detail}
        except torch.AcceleratorError:
            # Every later call on the GPU fails in this process.
            logger.exception("%s: the GPU failed", name)
            return {"type": "error", "code": "gpu_failed", "detail": "The GPU failed; the model server restarts."}
        except OSError as error:
            # Such as a full disk or no file descriptors; a damaged file raises InvalidInput instead.
            logger.exception("%s: the machine failed", name)
            return {"type": "error", "code": "machine_failed", "detail": str(error)}
        except Exception as error:
            logger.exception("%s failed", name)
            return {"type": "error", "code": "internal", "detail": f"{type(error).__name__}: {error}"}
        return {"type": "done"}


def _no_descriptors(cause: BaseException | None) -> bool:
    """Whether the machine had no file descriptors left, so that the file itself may be good."""
    return isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE)


def _chunk_message(chunk: GeneratedChunk) -> Message:
    return {
        "type": "chunk",
        "index": chunk.index,
        "shape": list(chunk.frames.shape),
        "frames": chunk.frames.tobytes(),
        "checkpoint": chunk.resume_point.to_bytes(),
    }


def _put_if_room(messages: "asyncio.Queue[Message]", message: Message) -> None:
    if not messages.full():
        messages.put_nowait(message)


def _unpack(body: bytes) -> Any:
    try:
        return msgpack.unpackb(body)
    except Exception as error:  # msgpack's errors have no base class of their own
        raise InvalidInput("malformed", "The body is not MessagePack.") from error


def _problem(status: int, code: str, detail: str) -> Response:
    return Response(msgpack.packb({"code": code, "detail": detail}), status, media_type=MESSAGE_PACK)


def _error_handler(status: int) -> Callable[[Request, Exception], Response]:
    def respond(request: Request, error: Exception) -> Response:
        assert isinstance(error, InfiniteTalkError)
        return _problem(status, error.code, error.detail)

    return respond


def _gpu_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""
