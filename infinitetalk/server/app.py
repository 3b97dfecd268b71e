"""The model server's interface: HTTP over a unix socket, messages in MessagePack.

    POST /renders                   a job in; a stream of messages out: waiting, alive, step, chunk, error, done
    POST /renders/{id}/{attempt}    {"lease_seconds": s}: the worker still holds the render
    GET  /health  /metrics          JSON; Prometheus

A client that goes away ends its render within one denoising step.
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
from infinitetalk.server.leases import Aborted, StaleToken, Turn, Turns
from infinitetalk.server.metrics import Metrics
from infinitetalk.server.model import WarmModel
from infinitetalk.server.protocol import RenderJob

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 1.0  # A client hears something at least so often.
LAST_WORD_SECONDS = 5.0
LAST = ("done", "error")
MESSAGE_PACK = "application/msgpack"
Message = dict[str, Any]


class ModelServer:
    def __init__(self, model: WarmModel, on_fatal: Callable[[], None]) -> None:
        """on_fatal: called when the GPU can only be used again by a new process."""
        self._model = model
        self._on_fatal = on_fatal
        self._files = FileWatch(model)
        self._metrics = Metrics(model, self._files)
        self._turns = Turns()
        self._rendering: Turn | None = None
        self._gpu = asyncio.Lock()
        # CUDA keeps handles for each thread, so that one of our own does all the rendering.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="render")
        self._tasks: set[asyncio.Task[None]] = set()
        self.app = Starlette(
            routes=[
                Route("/renders", self.render, methods=["POST"]),
                Route("/renders/{render_id}/{attempt:int}", self.extend, methods=["POST"]),
                Route("/health", self.health),
                Route("/metrics", self.metrics),
            ],
            exception_handlers={InvalidInput: _refused(422), StaleToken: _refused(409)},
        )

    async def render(self, request: Request) -> Response:
        job = RenderJob.from_message(_unpack(await request.body()))
        turn = self._turns.begin(job.render_id, job.attempt, job.lease_seconds)
        # The next chunk is denoised while the client takes this one, and waits if the client does not. With this one,
        # the response's, the socket's and the renderer's own, four are in memory at most.
        messages: asyncio.Queue[Message] = asyncio.Queue(1)
        task = asyncio.create_task(self._take_turn(job, turn, messages))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return StreamingResponse(self._stream(turn, messages), media_type=MESSAGE_PACK)

    async def extend(self, request: Request) -> Response:
        turn = self._turns.find(request.path_params["render_id"], request.path_params["attempt"])
        if turn is None:
            return _problem(404, "not_found", "This attempt is not under way.")
        try:
            turn.extend(float(_unpack(await request.body())["lease_seconds"]))
        except (TypeError, KeyError, ValueError) as error:
            raise InvalidInput("malformed", "lease_seconds must be a number.") from error
        return Response(status_code=204)

    async def health(self, request: Request) -> Response:
        model, rendering = self._model, self._rendering
        return JSONResponse(
            {
                "state": "busy" if rendering else model.readiness,
                "render_id": rendering.render_id if rendering else None,
                "waiting": self._turns.waiting - (rendering is not None),
                "gpu": _gpu_name(model.hardware.device),
                "plan": model.plan.name,
                "attention": model.hardware.attention,
                "loads": model.loads,
                "variant": model.variant.name if model.variant else None,
                "unloadable": await asyncio.to_thread(self._files.unloadable),  # The first call may wait.
            }
        )

    async def metrics(self, request: Request) -> Response:
        body, content_type = await asyncio.to_thread(self._metrics.export)
        return Response(body, media_type=content_type)

    async def _stream(self, turn: Turn, messages: "asyncio.Queue[Message]") -> AsyncIterator[bytes]:
        following: asyncio.Future[Message] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(messages.get())
                await asyncio.wait({following}, timeout=ALIVE_SECONDS)
                message = {"type": "alive" if self._rendering is turn else "waiting"}
                if following.done():
                    message, following = following.result(), None
                yield msgpack.packb(message)
                if message["type"] in LAST:
                    return
        finally:
            if following is not None:
                following.cancel()
            turn.abort("the client has gone away")

    async def _take_turn(self, job: RenderJob, turn: Turn, messages: "asyncio.Queue[Message]") -> None:
        loop = asyncio.get_running_loop()

        def hand_out(message: Message) -> None:
            """From the rendering thread; waits until there is room for it. Raises Aborted."""
            room = asyncio.run_coroutine_threadsafe(messages.put(message), loop)
            while True:
                try:
                    return room.result(timeout=0.5)
                except TimeoutError:
                    try:
                        turn.check()
                    except Aborted:
                        room.cancel()
                        raise

        def show_step(chunk: int, step: int) -> None:
            """Nobody waits for these: one that finds no room is left out."""
            message = {"type": "step", "chunk": chunk, "step": step, "steps": job.settings.steps_made}
            loop.call_soon_threadsafe(_put_if_room, messages, message)

        try:
            async with self._gpu:
                self._rendering = turn
                try:
                    end = await loop.run_in_executor(self._thread, self._render, job, turn, hand_out, show_step)
                finally:
                    self._rendering = None
        finally:
            self._turns.end(turn)
        self._metrics.ended(end.get("code", "done"))
        await asyncio.wait({asyncio.ensure_future(messages.put(end))}, timeout=LAST_WORD_SECONDS)
        if end.get("code") == "gpu_failed":
            self._on_fatal()

    def _render(
        self,
        job: RenderJob,
        turn: Turn,
        hand_out: Callable[[Message], None],
        show_step: Callable[[int, int], None],
    ) -> Message:
        """In the rendering thread. Returns the last message: how it ended."""
        name = f"Render {job.render_id} attempt {job.attempt}"
        self._metrics.began()
        try:
            with contextlib.closing(self._model.render(job, turn.check, show_step)) as chunks:
                for chunk in chunks:
                    self._metrics.rendered(chunk)
                    hand_out(_chunk_message(chunk))
        except Aborted as aborted:
            logger.info("%s aborted: %s", name, aborted)
            return {"type": "error", "code": "aborted", "detail": str(aborted)}
        except InvalidCheckpoint as error:
            logger.error("%s: %s: %s", name, error.code, error.detail)
            self._files.look()  # Before the worker asks what it may take next.
            return {"type": "error", "code": "model_file_missing", "detail": error.detail}
        except InfiniteTalkError as error:
            logger.warning("%s: %s: %s", name, error.code, error.detail)
            code = "machine_failed" if _no_descriptors(error.__cause__) else error.code
            return {"type": "error", "code": code, "detail": error.detail}
        except torch.AcceleratorError:
            # From now on every call on the GPU fails in this process.
            logger.exception("%s: the GPU failed", name)
            return {"type": "error", "code": "gpu_failed", "detail": "The GPU failed; the server starts anew."}
        except OSError as error:
            # Its disk is full or it has no descriptors left; damaged files are an InvalidInput.
            logger.exception("%s: the machine failed", name)
            return {"type": "error", "code": "machine_failed", "detail": str(error)}
        except Exception as error:
            logger.exception("%s failed", name)
            return {"type": "error", "code": "internal", "detail": f"{type(error).__name__}: {error}"}
        return {"type": "done"}


def _no_descriptors(cause: BaseException | None) -> bool:
    """Then a file that could not be opened is not damaged."""
    return isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE)


def _chunk_message(chunk: GeneratedChunk) -> Message:
    return {
        "type": "chunk",
        "index": chunk.index,
        "shape": list(chunk.frames.shape),
        "frames": chunk.frames.tobytes(),
        "checkpoint": chunk.checkpoint.to_bytes(),
    }


def _put_if_room(messages: "asyncio.Queue[Message]", message: Message) -> None:
    if not messages.full():
        messages.put_nowait(message)


def _unpack(body: bytes) -> Any:
    try:
        return msgpack.unpackb(body)
    except Exception as error:  # msgpack's kinds have no common base but ValueError and Exception
        raise InvalidInput("malformed", "The body is no MessagePack.") from error


def _problem(status: int, code: str, detail: str) -> Response:
    return Response(msgpack.packb({"code": code, "detail": detail}), status, media_type=MESSAGE_PACK)


def _refused(status: int) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, InfiniteTalkError)
        return _problem(status, error.code, error.detail)

    return answer


def _gpu_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""
