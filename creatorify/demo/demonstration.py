"""`make demo`: start the service, make one video as a customer does, and keep the service running if asked to."""

import json
import mimetypes
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import CommandError, OutputWrapper
from django.core.management.color import color_style

from creatorify.config.start import start_database
from creatorify.demo import account, media, player
from creatorify.demo.contact_sheet import write_contact_sheet
from creatorify.demo.customer import Customer, FinishedVideo
from creatorify.demo.example_files import ExampleFiles
from creatorify.demo.preparation import exit_on_signals, free_port, migrate
from creatorify.demo.supervisor import ProcessFailed, Supervisor, wait_until_listening
from render.storage.private_folder import private_folder

START_SECONDS = 25  # for the web server's first response
PORTRAIT_TYPES, VOICE_TYPES = ("image", "video"), ("audio", "video")  # the first part of a MIME type


@dataclass
class Demonstration:
    output: OutputWrapper
    errors: OutputWrapper
    portrait: Path | None  # None: the ones that come with the demo
    speech: Path | None
    port: int
    keep: bool  # leave the service running until Ctrl-C
    _is_kept = False

    def run(self) -> None:
        """Raises CommandError if the demo cannot be shown; the text says why."""
        exit_on_signals(lambda: 0 if self._is_kept else 130)
        try:
            self._run()
        except ProcessFailed as failure:
            raise CommandError(f"The service does not start: {failure}") from failure
        except OSError as error:
            raise CommandError(f"The demo cannot run on this machine: {error}") from error

    def _run(self) -> None:
        _require_usable(self.portrait, PORTRAIT_TYPES)
        _require_usable(self.speech, VOICE_TYPES)
        folder = private_folder(settings.VAR_DIR / "demo")
        self.output.write("Preparing the database, a portrait and a voice ...")
        migrate()
        portrait = self.portrait or _write_whole(folder / "portrait.jpg", media.write_portrait)
        speech = self.speech or _write_whole(folder / "speech.wav", media.write_speech)
        plain_key = account.api_key(folder / "api_key")
        port = free_port(self.port, self.output)
        environment = {"DATABASE_URL": start_database()}
        with Supervisor(port=port, log_folder=folder / "logs", environment=environment) as service:
            try:
                wait_until_listening(service.base_url, seconds=START_SECONDS, check=service.check)
            except TimeoutError:
                raise ProcessFailed(service.describe("web")) from None
            with Customer(service, plain_key, self.output) as customer:
                body = {
                    "title": "Demo",
                    "image_url": customer.upload(portrait),
                    "audio_url": customer.upload(speech),
                    "parameters": {"engine": "draft", "seed": 42},
                }
                video = customer.make_video(body, folder)
            self._show(video)
            if self.keep:
                self._keep(service, folder, plain_key, body)
            self.output.write("\nTo use the API yourself, keep the service running: make demo KEEP=1")

    def _show(self, video: FinishedVideo) -> None:
        sheet = write_contact_sheet(video.path, video.path.with_suffix(".jpg"))
        command = player.open_command(video.path, sys.platform)
        self.output.write(color_style().SUCCESS(f"\nThe video: {video.path}"))
        self.output.write(f"  {speed_of(video)}\n  some of its frames, side by side: {sheet}\n  to open it: {command}")
        if player.has_desktop(sys.platform, os.environ, is_terminal=self.output.isatty()):
            player.open_video(command)

    def _keep(self, service: Supervisor, folder: Path, plain_key: str, body: dict[str, Any]) -> NoReturn:
        self._is_kept = True
        contents = {"api_url": f"{service.base_url}/api/v1", "project.json": json.dumps(body)}
        with ExampleFiles(folder, contents) as files:
            password = account.admin_password(folder / "admin_password")
            self.output.write(
                f"\nThe service is running until you press Ctrl-C:\n"
                f"  API        {service.base_url}/api/v1\n"
                f"  API key    {plain_key}\n"
                f"  API docs   {service.base_url}/api/docs/\n"
                f"  Admin      {service.base_url}/admin/   (user {account.USER}, password {password})\n"
                f"\nThis makes the video again:\n"
                f"curl -X POST {service.base_url}/api/v1/projects -H 'X-API-Key: {plain_key}' "
                f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
            )
            if not files.are_ours:
                self.output.write(f"The examples of README.md use the service kept before, in {folder}/api_url.")
            self._watch(service, files)

    def _watch(self, service: Supervisor, files: ExampleFiles) -> NoReturn:
        """Until Ctrl-C. Prints once if a process dies again and again, and once if it runs again."""
        failed: set[str] = set()
        while True:
            time.sleep(1)
            files.write_if_first()
            failures = service.failures()
            for name in failures.keys() - failed:
                self.errors.write(f"The others go on, but {failures[name]}")
            for name in failed - failures.keys():
                self.errors.write(f"{name} runs again")
            failed = set(failures)


def speed_of(video: FinishedVideo) -> str:
    """Both times as the customer has them: the waiting includes the queue, the upload and the polling."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (
        f"{video.seconds:.1f} s of video in {video.waited_seconds:.1f} s, from the request to the finished video, "
        f"on {cores} {'core' if cores == 1 else 'cores'}"
    )


def _require_usable(path: Path | None, types: tuple[str, ...]) -> None:
    """Raises CommandError for a file that does not exist, is empty, or whose name says that it is something else."""
    if path is None:
        return
    if not path.is_file():
        raise CommandError(f"There is no file {path}")
    if path.stat().st_size == 0:
        raise CommandError(f"The file {path} is empty")
    mime_type = mimetypes.guess_type(path.name)[0] or "unknown"
    if mime_type.partition("/")[0] not in types:
        raise CommandError(f"{path} is of the type {mime_type}, by its name; it must be one of: {', '.join(types)}")


def _write_whole(path: Path, write: Callable[[Path], Path]) -> Path:
    """Write a file in one step: another demo, or an example, may be reading it."""
    return write(path.with_name(f"{os.getpid()}-{path.name}")).replace(path)
