"""`make demo`: the whole service on this machine, and one real video through its real API."""

import contextlib
import fcntl
import hashlib
import json
import mimetypes
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from accounts.api_keys import keys
from accounts.errors import CONTENT_TYPE, ServiceError
from accounts.models import Plan, Scope, Tenant
from creatorify.config import secret_key_file
from creatorify.demo import media as demo_media
from creatorify.demo.supervisor import ProcessFailed, Supervisor, wait_until_listening
from creatorify.logs.log_file import end_of
from creatorify.web.port import port_number
from render.models import Node
from render.storage.private_folder import private_folder

TENANT = "Demo"
START_SECONDS = 25  # in which the web server must answer
CHECK_SECONDS = 30  # in which a file must be checked
STILL_SECONDS = 300  # in which something must change while the video is made
BAR_WIDTH = 30
PICTURES, SOUNDS = ("image", "video"), ("audio", "video")  # kinds of files that can be the portrait, and the voice


class Command(BaseCommand):
    _service: Supervisor
    _keeping = False
    _drawn = ""

    help = "Start everything, make a talking video from a portrait and a voice over HTTP, and print where it is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--portrait", type=Path, help="your own picture or video instead of the one shipped")
        parser.add_argument("--speech", type=Path, help="your own voice recording instead of a spoken sentence")
        parser.add_argument(
            "--port", type=port_number, default=8000, help="of the web server; another one if it is taken"
        )
        parser.add_argument("--keep", action="store_true", help="leave the service running until Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        # Ended from outside, it must not leave the service's processes behind, nor a traceback.
        signal.signal(signal.SIGTERM, lambda *_: self._end(143))
        signal.signal(signal.SIGINT, lambda *_: self._end(0 if self._keeping else 130))
        try:
            self._run(options)
        except ProcessFailed as failure:
            raise CommandError(f"The service does not start: {failure}") from failure
        except OSError as error:
            raise CommandError(f"The demo cannot go on on this machine: {error}") from error

    def _run(self, options: dict[str, Any]) -> None:
        for path, kinds in ((options["portrait"], PICTURES), (options["speech"], SOUNDS)):
            if path is not None:
                _require_usable(path, kinds)
        folder = private_folder(settings.VAR_DIR / "demo")
        self.stdout.write("Preparing the database, a portrait and a voice ...")
        self._migrate()
        portrait = options["portrait"] or _made(folder / "portrait.jpg", demo_media.write_portrait)
        speech = options["speech"] or _made(folder / "speech.wav", demo_media.write_speech)
        plain_key = _key(folder / "api_key")

        port = self._free_port(options["port"])
        environment = {"DATABASE_URL": settings.DATABASE_URL}
        with Supervisor(port=port, log_folder=folder / "logs", environment=environment) as service:
            self._service = service
            try:
                wait_until_listening(service.base_url, seconds=START_SECONDS, check=service.check)
            except TimeoutError:
                raise ProcessFailed(service.told_of("web")) from None
            with (
                self._answering(),
                httpx.Client(base_url=service.base_url, headers={"X-API-Key": plain_key}, timeout=30) as client,
            ):
                body = {
                    "title": "Demo",
                    "image_url": self._upload(client, portrait),
                    "audio_url": self._upload(client, speech),
                    "parameters": {"engine": "draft", "seed": 42},
                }
                video = self._make_video(client, body, folder)
            self.stdout.write(self.style.SUCCESS(f"\nThe video: {video}"))
            if not options["keep"]:
                self.stdout.write("\nTo use the API yourself, keep the service running: make demo KEEP=1")
                return
            self._keeping = True
            told = {"api_url": f"{service.base_url}/api/v1", "project.json": json.dumps(body)}
            with _FilesOfExamples(folder, told) as files:
                self._print_next_steps(service.base_url, plain_key, body, _password(folder / "admin_password"))
                if not files.are_ours:
                    self.stdout.write(f"The examples of README.md use the service kept before, in {folder}/api_url.")
                self._watch(files)

    def _end(self, status: int) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # A second one must not break off the stop of the processes.
        sys.exit(status)

    def _migrate(self) -> None:
        try:
            call_command("migrate", verbosity=0)
        except DatabaseError as error:
            told = ""
            if settings.EMBEDDED_POSTGRES:
                log = settings.EMBEDDED_POSTGRES / "log"
                told = f"\nIts log is {log} and ends with:\n{end_of(log)}"
            raise CommandError(f"The database cannot be brought up to date: {str(error).strip()}{told}") from error

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Raises ProcessFailed, with the end of its log, when the web server does not answer."""
        try:
            yield
        except httpx.HTTPError as error:
            self._service.check()
            raise ProcessFailed(f"{self._service.told_of('web')}\n({error})") from error

    def _check(self) -> None:
        """Raises ProcessFailed when a process cannot start or this machine cannot work."""
        self._service.check()
        if node := Node.objects.filter(name=settings.NODE_NAME).exclude(fault="").first():
            raise ProcessFailed(f"This machine cannot work: {node.fault}\n{self._service.told_of('queue')}")

    def _watch(self, files: "_FilesOfExamples") -> None:
        """Until Ctrl-C. Tells once of a process that dies again and again, while the others go on."""
        told: set[str] = set()
        while True:
            time.sleep(1)
            files.write_if_first()
            failures = self._service.failures()
            for name in failures.keys() - told:
                self.stderr.write(f"The others go on, but {failures[name]}")
            for name in told - failures.keys():
                self.stderr.write(f"{name} runs again")
            told = set(failures)

    def _upload(self, client: httpx.Client, path: Path) -> str:
        """Send a file as a customer does; return what a project calls it."""
        content = path.read_bytes()
        announcement = {
            "filename": path.name,
            "content_type": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        upload = self._answer(client.post("/api/v1/uploads", json=announcement))
        if upload["url"]:
            self._answer(client.put(upload["url"], content=content, headers=upload["headers"]))
        asset = upload["asset"]
        self.stdout.write(f"POST {client.base_url}/api/v1/uploads -> {asset['reference']} ({path.name})")
        deadline = time.monotonic() + CHECK_SECONDS
        while asset["state"] == "waiting":
            self._check()
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{path} was not checked in time: {self._service.told_of('queue')}")
            time.sleep(0.2)
            asset = self._answer(client.get(f"/api/v1/assets/{asset['id']}"))
        if asset["state"] != "ready":
            raise CommandError(f"{path} cannot be used: {asset['error']['detail']}")
        return str(asset["reference"])

    def _make_video(self, client: httpx.Client, body: dict[str, Any], folder: Path) -> Path:
        project_id = self._answer(client.post("/api/v1/projects", json=body))["id"]
        self.stdout.write(f"POST {client.base_url}/api/v1/projects -> {project_id}")
        changed_at, drawn = time.monotonic(), self._drawn
        while True:
            self._check()
            status = self._answer(client.get(f"/api/v1/projects/{project_id}/status"))
            self._draw_progress(status)
            if self._drawn != drawn:
                changed_at, drawn = time.monotonic(), self._drawn
            if time.monotonic() > changed_at + STILL_SECONDS:
                waits = f" ({status['waiting_reason']})" if status["waiting_reason"] else ""
                raise ProcessFailed(f"The video does not get on{waits}: {self._service.told_of('queue')}")
            if status["status"] == "failed":
                raise CommandError(f"The video failed: {status['error_message']}")
            if status["status"] == "finished":
                break
            time.sleep(0.2)
        path = folder / f"{project_id}.mp4"
        path.write_bytes(httpx.get(status["video_url"], timeout=60).raise_for_status().content)
        return path

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        if not response.is_success:
            request = response.request
            is_problem = response.headers.get("Content-Type", "") == CONTENT_TYPE
            told = response.json()["detail"] if is_problem else response.text
            raise CommandError(f"{request.method} {request.url} answered {response.status_code}: {told}")
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    def _draw_progress(self, status: dict[str, Any]) -> None:
        filled = BAR_WIDTH * status["progress"] // 100
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        label = status["phase"] or status["state"]
        line = f"[{bar}] {status['progress']:3d} %  {label:<12}"
        if line != self._drawn:
            # In a log file, a line for each change; on a terminal, one that moves.
            on_terminal = self.stdout.isatty()
            self.stdout.write(f"\r{line}" if on_terminal else line, ending="" if on_terminal else "\n")
            self.stdout.flush()
            self._drawn = line

    def _print_next_steps(self, base_url: str, plain_key: str, body: dict[str, Any], password: str) -> None:
        self.stdout.write(
            f"\nThe service is running until you press Ctrl-C:\n"
            f"  API        {base_url}/api/v1\n"
            f"  API key    {plain_key}\n"
            f"  API docs   {base_url}/api/docs/\n"
            f"  Admin      {base_url}/admin/   (user demo, password {password})\n"
            f"\nThis makes the video again:\n"
            f"curl -X POST {base_url}/api/v1/projects -H 'X-API-Key: {plain_key}' "
            f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
        )

    def _free_port(self, wanted: int) -> int:
        for port in (wanted, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    reason = error.strerror
                    continue
                chosen: int = probe.getsockname()[1]
            if port == 0:
                self.stdout.write(f"Port {wanted} cannot be used ({reason}): the service uses port {chosen} instead.")
            return chosen
        raise CommandError("No free port")


class _FilesOfExamples:
    """What the examples in README.md read. Of several services that are kept, the first one writes them; when it has
    ended, the next. Use as a context manager.
    """

    def __init__(self, folder: Path, contents: dict[str, str]) -> None:
        self.are_ours = False
        self._folder, self._contents = folder, contents

    def __enter__(self) -> "_FilesOfExamples":
        self._kept = (self._folder / "kept").open("w")
        self.write_if_first()
        return self

    def __exit__(self, *error: object) -> None:
        self._kept.close()

    def write_if_first(self) -> None:
        if self.are_ours:
            return
        with contextlib.suppress(BlockingIOError):  # Another one is kept.
            fcntl.flock(self._kept, fcntl.LOCK_EX | fcntl.LOCK_NB)  # It ends with the process, however that ends.
            for name, content in self._contents.items():
                _put(self._folder / name, content)
            self.are_ours = True


def _require_usable(path: Path, kinds: tuple[str, ...]) -> None:
    """Raises CommandError for a file that is not there, is empty, or whose name says that it is something else."""
    if not path.is_file():
        raise CommandError(f"There is no file {path}")
    if path.stat().st_size == 0:
        raise CommandError(f"The file {path} is empty")
    kind = mimetypes.guess_type(path.name)[0] or "unknown"
    if kind.partition("/")[0] not in kinds:
        raise CommandError(f"{path} is of the type {kind}, by its name; it must be one of: {', '.join(kinds)}")


def _made(path: Path, write: Callable[[Path], Path]) -> Path:
    """Written anew as a whole: another demo, or an example, may be reading it."""
    return write(path.with_name(f"{os.getpid()}-{path.name}")).replace(path)


def _put(path: Path, content: str) -> None:
    """For the owner of the file alone, and as a whole: another program may be reading it."""
    draft = path.with_name(f"{os.getpid()}-{path.name}")
    draft.touch(mode=0o600)
    draft.write_text(content)
    draft.replace(path)


def _key(path: Path) -> str:
    """The demo's own key, the same each time, so that the printed command keeps working."""
    if path.exists():
        with contextlib.suppress(ServiceError):
            keys.authenticate(plain := path.read_text())
            return plain
    plan, _ = Plan.objects.get_or_create(name="Demo")
    tenant, _ = Tenant.objects.get_or_create(name=TENANT, defaults={"plan": plan})
    _, plain = keys.issue(tenant, name="demo", scopes=list(Scope))
    _put(path, plain)
    return plain


def _password(path: Path) -> str:
    """Of the user `demo` in the admin, the same each time: another service that is kept has told it, too."""
    password = secret_key_file.read_or_make(path)
    user, _ = User.objects.get_or_create(username="demo", defaults={"is_staff": True, "is_superuser": True})
    if not user.check_password(password):  # To set it anew would end the sessions of who is logged in.
        user.set_password(password)
        user.save()
    return password
