"""A wrong environment variable: one sentence that names it, what was given and what is wanted, and no traceback."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests import ROOT

SETTINGS = "".join(path.read_text() for path in sorted((ROOT / "creatorify" / "settings").glob("*.py")))
# So that every variable is read.
GIVEN = {
    "DATABASE_URL": "postgresql://127.0.0.1:1/none",
    "BEHIND_TLS_PROXY": "true",
    "SPEECH_URL": "http://speech.example.com",
    "S3_BUCKET": "media",
    "S3_ACCESS_KEY_ID": "id",
    "S3_SECRET_ACCESS_KEY": "secret",
}
CHECKED = re.findall(r'env\.(?:whole|numbers?|flag|choices?|url|file|contact)\(\s*"([A-Z0-9_]+)"', SETTINGS)


@pytest.fixture
def read(monkeypatch, tmp_path: Path):
    monkeypatch.setattr("creatorify.settings", sys.modules["creatorify.settings"])  # put back in the end

    def run(**environment: str) -> dict:
        for name in (*re.findall(r'env\.[a-z]+\(\s*"([A-Z0-9_]+)"', SETTINGS), "DJANGO_SETTINGS_MODULE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {**GIVEN, "VAR_DIR": str(tmp_path), **environment}.items():
            monkeypatch.setenv(name, value)
        for name in [name for name in sys.modules if name.partition(".settings")[0] == "creatorify"]:
            monkeypatch.delitem(sys.modules, name)  # So it is evaluated anew; afterwards the modules are put back.
        return vars(importlib.import_module("creatorify.settings"))

    return run


def test_the_given_values_are_right(read) -> None:
    assert read()["MEDIA_STORAGE"] == "s3"


@pytest.mark.parametrize("name", sorted(set(CHECKED)))
def test_no_variable_takes_anything(read, name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^The environment variable {name} is 'bogus', and must be "):
        read(**{name: "bogus"})


@pytest.mark.parametrize("contact", ["https://example.com/bot?a=b", "mailto:a@b.example", "a+b@c.example", ""])
def test_other_servers_are_told_who_asks(read, contact: str) -> None:
    agent = read(USER_AGENT_CONTACT=contact)["USER_AGENT"]

    assert re.fullmatch(r"creatorify/[0-9.]+" + re.escape(f" ({contact})" if contact else ""), agent)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("CPU_WORKERS", "0", "a whole number, 1 or more"),
        ("CPU_WORKERS", "1.5", "a whole number, 1 or more"),
        ("RENDER_LEASE_SECONDS", "0", "a number, 0.001 or more"),
        ("RENDER_LEASE_SECONDS", "nan", "a number, 0.001 or more"),
        ("RENDER_LEASE_SECONDS", "inf", "a number, 0.001 or more"),
        ("MIN_FREE_WORK_BYTES", "-1", "a whole number, 0 or more"),
        ("ENGINES", "draft,bogus", "some of draft, infinitetalk, separated by commas"),
        ("STORAGE_RETRY_DELAYS", "30,soon", "numbers, separated by commas"),
        *(
            ("USER_AGENT_CONTACT", value, "an address that begins with http:// or https://, or a mail address")
            for value in (
                "me",
                "https://",
                "https://a b",
                "a@b c@d",
                "(a@b)",
                "https://x/(y)",
                "https://\u00fc",
                "@",
            )
        ),
        ("PUBLIC_URL", "avatars.example.com", "an address that begins with http:// or https://"),
        ("SPEECH_VOICES", "af_heart", "a list of ID:LANGUAGE"),
        ("LOG_LEVEL", "info", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    ],
)
def test_what_is_wanted_is_told(read, name: str, value: str, wanted: str) -> None:
    with pytest.raises(ImproperlyConfigured) as told:
        read(**{name: value})
    assert str(told.value) == f"The environment variable {name} is '{value}', and must be {wanted}."


@pytest.mark.parametrize(
    "url", ["mysql://u:hidden@h/d", "postgresql://u:hidden@h", "postgresql://u:hidden@h:port/d", "u:hidden@h/d"]
)
def test_of_a_wrong_database_no_password_is_shown(read, url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="^The environment variable DATABASE_URL must be ") as told:
        read(DATABASE_URL=url)
    assert "hidden" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"S3_BUCKET": "", "MEDIA_STORAGE": "s3"}, "S3_BUCKET"),
        ({"S3_SECRET_ACCESS_KEY": ""}, "S3_SECRET_ACCESS_KEY"),
        ({"MEDIA_STORAGE": "cloudinary", "CLOUDINARY_URL": "cloudinary://x"}, "CLOUDINARY_URL"),
        ({"SECRET_KEY_FILE": "/nowhere"}, "SECRET_KEY_FILE"),
    ],
)
def test_other_faults_name_their_variable(read, given: dict[str, str], named: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=named):
        read(**given)


def test_what_is_right_is_read_as_before(read, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("$from-a-file")
    settings = read(
        SECRET_KEY_FILE=str(tmp_path / "key"),
        ENGINES="draft, infinitetalk",
        CPU_WORKERS="",
        RENDER_LEASE_SECONDS="4.5",
        DEBUG="0",
        ALLOWED_HOSTS="a.example.com,b.example.com",
        STORAGE_RETRY_DELAYS="1,2.5",
    )

    assert settings["SECRET_KEY"] == "$from-a-file"
    assert list(settings["RENDER_ENGINES"]) == ["draft", "infinitetalk"]
    assert (settings["CPU_WORKERS"], settings["RENDER_LEASE_SECONDS"], settings["DEBUG"]) == (2, 4.5, False)
    assert settings["ALLOWED_HOSTS"] == ["a.example.com", "b.example.com"]
    assert settings["STORAGE_RETRY_DELAYS"] == [1.0, 2.5]


# Two that meet the database in different places, in one process: to load Django takes longer than all the rest.
TWO_COMMANDS = """
import manage, sys
sys.argv = ["manage.py", "create_tenant", "x"]
try:
    manage.main()
except SystemExit as ended:
    assert ended.code.startswith("The database that DATABASE_URL names cannot be reached: "), ended.code
    sys.argv = ["manage.py", "migrate"]
    manage.main()
"""


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        (["manage.py", "qcluster"], {"CPU_WORKERS": "two"}, "The environment variable CPU_WORKERS is 'two', and must"),
        (["-m", "creatorify.web"], {"CPU_WORKERS": "two"}, "The environment variable CPU_WORKERS is 'two', and must"),
        (["-m", "creatorify.web"], {"DEFAULT_ENGINE": "x"}, "SystemCheckError: System check identified some issues:"),
        (["-m", "creatorify.web"], {"DATABASE_URL": "", "VAR_DIR": "/dev/null/x"}, "The service cannot start on this"),
        (["-c", TWO_COMMANDS], {}, "The database that DATABASE_URL names cannot be reached: connection failed:"),
    ],
)
def test_a_process_ends_with_the_sentence(tmp_path: Path, command: list[str], given: dict[str, str], said: str) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "creatorify.settings", "VAR_DIR": str(tmp_path)}
    environment |= {"DATABASE_URL": GIVEN["DATABASE_URL"], **given}

    run = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )

    assert run.returncode == 1
    assert run.stderr.startswith(said) and "Traceback" not in run.stderr
