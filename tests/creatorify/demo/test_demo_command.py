"""Parts of `manage.py demo` without the service that it starts; tests/own_service/test_demo.py starts it."""

import io
import socket
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError, OutputWrapper
from django.db import OperationalError

from creatorify.demo import preparation
from creatorify.demo.account import admin_password
from creatorify.demo.example_files import ExampleFiles
from creatorify.web.port import port_number

OURS, THEIRS = {"api_url": "http://ours"}, {"api_url": "http://theirs"}


def test_the_examples_use_the_service_that_was_kept_first_and_then_the_next(tmp_path: Path) -> None:
    address = tmp_path / "api_url"
    with ExampleFiles(tmp_path, OURS), ExampleFiles(tmp_path, THEIRS) as second:
        assert (address.read_text(), second.are_ours) == ("http://ours", False)
        assert address.stat().st_mode & 0o077 == 0
    with ExampleFiles(tmp_path, OURS) as first, ExampleFiles(tmp_path, THEIRS) as second:
        first.__exit__()
        second.write_if_first()
        assert (address.read_text(), second.are_ours) == ("http://theirs", True)


@pytest.mark.django_db
def test_the_password_is_made_once_and_ends_no_session(tmp_path: Path) -> None:
    password = admin_password(tmp_path / "admin_password")
    user = User.objects.get(username="demo")
    assert user.check_password(password) and user.is_superuser

    assert admin_password(tmp_path / "admin_password") == password
    assert User.objects.get(username="demo").password == user.password
    assert (tmp_path / "admin_password").stat().st_mode & 0o077 == 0

    user.set_password("something else")
    user.save()
    assert admin_password(tmp_path / "admin_password") == password
    assert User.objects.get(username="demo").check_password(password)


def test_another_port_is_told() -> None:
    said = io.StringIO()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = preparation.free_port(port, OutputWrapper(said))
    assert (
        said.getvalue()
        == f"Port {port} cannot be used (Address already in use): the service uses port {chosen} instead.\n"
    )

    said = io.StringIO()
    assert preparation.free_port(chosen, OutputWrapper(said)) == chosen
    assert said.getvalue() == ""


@pytest.mark.parametrize("text", ["80000", "0", "-1", "x", "", "8e3", "\u0663"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="it must be a number from 1 to 65535"):
        port_number(text)


@pytest.mark.parametrize(
    ("option", "name", "content", "told"),
    [
        ("portrait", "me.jpg", None, "There is no file "),
        ("portrait", "me.jpg", b"", "is empty"),
        ("portrait", "note.txt", b"x", "is of the type text/plain, by its name; it must be one of: image, video"),
        ("portrait", "voice.wav", b"x", "it must be one of: image, video"),
        ("speech", "me", b"x", "is of the type unknown, by its name; it must be one of: audio, video"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_before_anything_starts(
    tmp_path: Path, option: str, name: str, content: bytes | None, told: str
) -> None:
    path, said = tmp_path / name, io.StringIO()
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CommandError, match=told):
        call_command("demo", f"--{option}={path}", stdout=said)

    assert said.getvalue() == ""


@pytest.mark.parametrize("embedded", [True, False])
def test_only_the_embedded_servers_log_is_shown(tmp_path: Path, settings, monkeypatch, embedded: bool) -> None:
    (tmp_path / "log").write_text("FATAL: from the embedded server")
    settings.EMBEDDED_POSTGRES = tmp_path if embedded else None

    def refuse(*arguments: object, **options: object) -> None:
        raise OperationalError("Connection refused")

    monkeypatch.setattr(preparation, "call_command", refuse)

    with pytest.raises(CommandError, match="be migrated: Connection refused") as told:
        preparation.migrate()
    assert ("FATAL: from the embedded server" in str(told.value)) == embedded
