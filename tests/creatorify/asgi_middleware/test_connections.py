"""How many connections a web process holds, by its limits of file descriptors."""

import configparser
import re
import resource
import subprocess
import sys

import pytest

from creatorify.asgi_middleware import connections
from tests import ROOT

UNLIMITED = resource.RLIM_INFINITY
PROGRAM = """
import resource
from creatorify.asgi_middleware import connections
connections.raise_descriptor_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("descriptors", "wanted", "held"),
    [
        (16_384, 4000, 4000),
        (8192, 4000, 3996),
        (1024, 4000, 412),
        (1024, 100, 100),
        (100, 4000, 1),
        (UNLIMITED, 10**6, (connections.UNLIMITED_DESCRIPTORS - connections.OTHER_DESCRIPTORS) // 2),
    ],
)
def test_each_connection_has_two_descriptors(settings, monkeypatch, descriptors, wanted, held) -> None:
    settings.MAX_CONNECTIONS = wanted
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (descriptors, UNLIMITED))

    assert connections.most() == held


@pytest.mark.parametrize(("soft", "hard"), [(256, 900), (900, 900), (700, 900)])
def test_the_limit_is_raised_as_far_as_it_may_be_and_never_lowered(soft, hard) -> None:
    ran = subprocess.run(
        ["sh", "-c", f"ulimit -Sn {soft}; ulimit -Hn {hard}; exec {sys.executable} -c '{PROGRAM}'"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ran.stdout.split() == [str(hard)] * 2


@pytest.mark.parametrize(
    ("soft", "raised"), [(1024, connections.UNLIMITED_DESCRIPTORS), (10**6, 10**6), (UNLIMITED, UNLIMITED)]
)
def test_where_the_machine_allows_any_number_it_takes_a_sane_one(monkeypatch, soft, raised) -> None:
    made = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, UNLIMITED))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: made.append(limits))

    connections.raise_descriptor_limit()

    assert made == [(raised, UNLIMITED)]


def test_the_unit_and_the_proxy_agree_with_it(settings, monkeypatch) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(ROOT / "deploy" / "systemd" / "creatorify-web.service")
    descriptors = int(unit["Service"]["LimitNOFILE"])
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (descriptors, descriptors))
    [of_proxy] = re.findall(r"max_conns_per_host (\d+)", (ROOT / "docs" / "deploy.md").read_text())

    assert int(of_proxy) < connections.most() == settings.MAX_CONNECTIONS
