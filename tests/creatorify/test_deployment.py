"""What docs/deploy.md relies on: the example of the environment is complete, and with it Django has no complaint."""

import configparser
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import ROOT

EXAMPLE = ROOT / ".env.example"


def named_in_the_example() -> list[str]:
    return re.findall(r"^#?([A-Z][A-Z0-9_]*)=", EXAMPLE.read_text(), re.MULTILINE)


def test_every_variable_is_in_the_example_once() -> None:
    settings = "".join(path.read_text() for path in (ROOT / "creatorify" / "settings").glob("*.py"))
    read = set(re.findall(r'env\.[a-z]+\(\s*"([A-Z][A-Z0-9_]*)"', settings))
    compose = (ROOT / "deploy" / "docker" / "compose.yaml").read_text()
    read |= set(re.findall(r"\$\{([A-Z_]+)", compose))
    named = named_in_the_example()

    assert len(read) > 50
    assert set(named) == read
    assert len(named) == len(set(named))


def test_a_model_server_in_a_container_sees_its_workers_files() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "docker" / "compose.yaml").read_text())["services"]
    mounts = {
        name: {volume.removesuffix(":ro") for volume in services[name]["volumes"]} for name in ("model", "gpu_node")
    }

    assert mounts["gpu_node"] <= mounts["model"]


def test_no_containers_log_grows_without_end() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "docker" / "compose.yaml").read_text())["services"]

    for name, service in services.items():
        assert {"max-size", "max-file"} <= service["logging"]["options"].keys(), name


def test_each_variable_is_explained() -> None:
    explained = False
    for line in EXAMPLE.read_text().splitlines():
        if re.match(r"#?[A-Z][A-Z0-9_]*=", line):
            assert explained, line
        else:
            explained = line.startswith("# ")


def test_with_the_example_filled_in_the_deployment_check_is_clean(tmp_path: Path) -> None:
    filled = EXAMPLE.read_text().replace("SECRET_KEY=\n", f"SECRET_KEY={secrets.token_urlsafe(48)}\n", 1)
    filled = filled.replace("DATABASE_URL=\n", "DATABASE_URL=postgresql://u:p@db.example.com:5432/postgres\n")
    filled = filled.replace("#DATABASE_CA_FILE=/etc/creatorify/", "DATABASE_CA_FILE=/var/lib/creatorify/")
    (tmp_path / "database-ca.crt").touch()
    (tmp_path / "env").write_text(filled.replace("/var/lib/creatorify", str(tmp_path)))
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "creatorify.settings"}
    environment.pop("DATABASE_URL", None)
    for line in (tmp_path / "env").read_text().splitlines():
        if re.match(r"[A-Z][A-Z0-9_]*=", line):
            name, _, value = line.partition("=")
            environment[name] = value

    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout + done.stderr


@pytest.mark.parametrize("unit", sorted((ROOT / "deploy" / "systemd").glob("*.service")), ids=lambda unit: unit.stem)
def test_a_unit_that_fails_is_tried_for_ever_and_ever_later(unit: Path) -> None:
    sections = configparser.ConfigParser(interpolation=None, strict=False)
    sections.optionxform = str  # type: ignore[assignment]
    sections.read_string(unit.read_text())

    assert sections["Unit"]["StartLimitIntervalSec"] == "0"
    service = sections["Service"]
    assert (service["Restart"], service["RestartSec"]) == ("always", "2")
    assert (service["RestartSteps"], service["RestartMaxDelaySec"]) == ("6", "60")
