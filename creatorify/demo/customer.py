"""A customer of the demo's service: uploads files, creates a project and waits for its video, over HTTP."""

import contextlib
import hashlib
import mimetypes
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.core.management.base import CommandError, OutputWrapper

from accounts.errors import CONTENT_TYPE
from creatorify.demo.supervisor import ProcessFailed, Supervisor
from render.models import Node

CHECK_SECONDS = 30  # for the check of an uploaded file
STILL_SECONDS = 300  # without a change of the project's status
POLL_SECONDS = 0.2
BAR_WIDTH = 30  # characters


@dataclass(frozen=True)
class FinishedVideo:
    path: Path
    seconds: float
    waited_seconds: float  # from the request until the service says that it is finished, by this machine's clock


class Customer:
    """Use as a context manager. All methods raise CommandError for an error in an API response or a failed render, and
    ProcessFailed, with the end of a log, if the service does not work.
    """

    def __init__(self, service: Supervisor, plain_key: str, output: OutputWrapper) -> None:
        self._service, self._output = service, output
        self._client = httpx.Client(base_url=service.base_url, headers={"X-API-Key": plain_key}, timeout=30)
        self._bar = ""  # as it was last drawn

    def __enter__(self) -> "Customer":
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def upload(self, path: Path) -> str:
        """Send a file and wait until it is checked. Returns the reference that a project names it by."""
        with self._reachable():
            content = path.read_bytes()
            announcement = {
                "filename": path.name,
                "content_type": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            upload = _json(self._client.post("/api/v1/uploads", json=announcement))
            if upload["url"]:  # Empty if the same file is there already.
                _json(self._client.put(upload["url"], content=content, headers=upload["headers"]))
            asset = upload["asset"]
            self._output.write(f"POST {self._client.base_url}/api/v1/uploads -> {asset['reference']} ({path.name})")
            deadline = time.monotonic() + CHECK_SECONDS
            while asset["state"] == "waiting":
                self._require_working_service()
                if time.monotonic() > deadline:
                    raise ProcessFailed(f"{path} was not checked in time: {self._service.describe('queue')}")
                time.sleep(POLL_SECONDS)
                asset = _json(self._client.get(f"/api/v1/assets/{asset['id']}"))
        if asset["state"] != "ready":
            raise CommandError(f"{path} cannot be used: {asset['error']['detail']}")
        return str(asset["reference"])

    def make_video(self, body: dict[str, Any], folder: Path) -> FinishedVideo:
        """Create a project, draw its progress until it is finished, and save its video in the folder."""
        with self._reachable():
            requested_at = time.monotonic()
            project_id = _json(self._client.post("/api/v1/projects", json=body))["id"]
            self._output.write(f"POST {self._client.base_url}/api/v1/projects -> {project_id}")
            status = self._wait_for_end(project_id)
            waited_seconds = time.monotonic() - requested_at
            if status["status"] == "failed":
                raise CommandError(f"The video failed: {status['error_message']}")
            path = folder / f"{project_id}.mp4"
            path.write_bytes(httpx.get(status["video_url"], timeout=60).raise_for_status().content)
            project = _json(self._client.get(f"/api/v1/projects/{project_id}"))
        return FinishedVideo(path, project["duration_seconds"], waited_seconds)

    def _wait_for_end(self, project_id: str) -> dict[str, Any]:
        last_bar, changed_at = self._bar, time.monotonic()
        while True:
            self._require_working_service()
            status = _json(self._client.get(f"/api/v1/projects/{project_id}/status"))
            self._draw_progress(status)
            if status["status"] in ("finished", "failed"):
                return status
            if self._bar != last_bar:
                last_bar, changed_at = self._bar, time.monotonic()
            if time.monotonic() > changed_at + STILL_SECONDS:
                reason = f" ({status['waiting_reason']})" if status["waiting_reason"] else ""
                raise ProcessFailed(f"The video makes no progress{reason}: {self._service.describe('queue')}")
            time.sleep(POLL_SECONDS)

    def _require_working_service(self) -> None:
        self._service.check()
        if node := Node.objects.filter(name=settings.NODE_NAME).exclude(fault="").first():
            raise ProcessFailed(f"This machine cannot work: {node.fault}\n{self._service.describe('queue')}")

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        """Turns a failed connection into the reason for it."""
        try:
            yield
        except httpx.HTTPError as error:
            self._service.check()
            raise ProcessFailed(f"{self._service.describe('web')}\n({error})") from error

    def _draw_progress(self, status: dict[str, Any]) -> None:
        filled = BAR_WIDTH * status["progress"] // 100
        label = status["phase"] or status["state"]
        bar = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {status['progress']:3d} %  {label:<12}"
        if bar == self._bar:
            return
        self._bar = bar
        if self._output.isatty():
            self._output.write(f"\r{bar}", ending="")
        else:
            self._output.write(bar)
        self._output.flush()


def _json(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        request = response.request
        is_problem = response.headers.get("Content-Type", "") == CONTENT_TYPE
        detail = response.json()["detail"] if is_problem else response.text
        raise CommandError(f"{request.method} {request.url} answered {response.status_code}: {detail}")
    content: dict[str, Any] = response.json() if response.content else {}
    return content
