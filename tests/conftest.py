import gc
import logging
import os
import ssl
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path

import httpx
import pytest
import pytest_django.fixtures
from django.conf import settings
from django.core.cache import cache
from django.test import TransactionTestCase
from httpx import _config as httpx_config
from httpx._transports import default as httpx_transports
from rest_framework.test import APIClient
from whitenoise.middleware import WhiteNoiseMiddleware

from accounts.api_keys import keys
from accounts.models import ApiKey, Plan, Tenant
from creatorify.logs.line_limit import LineLimit
from tests.database_clock import DatabaseClock
from tests.database_setup import Emptying, do_not_wait_for_the_disk, use_migrated_template
from tests.neighbour import Neighbour, Neighbours
from tests.prices import full_prices

TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden", type=Path, help="a folder of golden data for test_parity.py, instead of the one shipped"
    )


@pytest.hookimpl(trylast=True)  # after pytest-randomly's shuffle
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the files that share one service, so that it is started once in each test process. Those that start one of
    their own evenly among the others: two at once slow each other down, one that begins last keeps one of two processes
    busy alone.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    order = [path for path in files if path.is_relative_to(TESTS / "service")]
    heavy = [path for path in files if path.is_relative_to(TESTS / "own_service")]
    light = [path for path in files if path not in order and path not in heavy]
    share = -(-len(light) // (len(heavy) + 1))
    for number, path in enumerate(heavy):
        order += [path, *light[number * share : (number + 1) * share]]
    order += light[len(heavy) * share :]
    items[:] = [item for path in order for item in files[path]]


def pytest_collection_finish() -> None:
    """What the imports have made stays to the end: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


class Caller(APIClient):
    """A developer with an API key."""

    tenant: Tenant
    key: ApiKey
    plain_key: str

    def __init__(self, tenant: Tenant, name: str) -> None:
        super().__init__()
        self.tenant = tenant
        self.key, self.plain_key = keys.issue(tenant, name=name)
        self.credentials(HTTP_X_API_KEY=self.plain_key)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix, django_db_blocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        use_migrated_template()
    with pytest.MonkeyPatch.context() as patch:
        # pytest-django makes no test database if no test has the mark `django_db`. Tests of a service need it, too.
        patch.setattr(pytest_django.fixtures, "_get_databases_for_setup", lambda items: ({"default"}, set()))
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker) -> Iterator[Emptying]:
    with django_db_blocker.unblock():
        do_not_wait_for_the_disk()
        emptying = Emptying()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test: emptying.after(test))
        yield emptying


@pytest.fixture(scope="session", autouse=True)
def _static_files_listed_once() -> Iterator[None]:
    """Each client of a test has its own middleware, and WhiteNoise's would look for all static files anew."""
    listed: dict[str, object] = {}
    real = WhiteNoiseMiddleware.add_files_from_finders

    def add_files(middleware: WhiteNoiseMiddleware) -> None:
        if not listed:
            real(middleware)
            listed.update(middleware.files)
        middleware.files.update(listed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", add_files)
        yield


@pytest.fixture(scope="session", autouse=True)
def _certificates_read_once() -> Iterator[None]:
    """To read the authorities that a client trusts takes 30 ms, and each client of httpx reads them anew."""

    @lru_cache
    def read(trust_env: bool, *named_in_environment: str | None) -> ssl.SSLContext:
        return httpx_config.create_ssl_context(trust_env=trust_env)

    def create(**options: object) -> ssl.SSLContext:
        if options.get("verify", True) is not True or options.get("cert"):
            return httpx_config.create_ssl_context(**options)
        return read(options.get("trust_env", True), *map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "create_ssl_context", create)
        patch.setattr(httpx_transports, "create_ssl_context", create)
        yield


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of new ones. Most tests write no file, and `tmp_path` makes a folder, for which it looks through those of
    all tests before.
    """
    home = tmp_path_factory.mktemp("folders")
    return (home / str(number) for number in count())


@pytest.fixture(autouse=True)
def _own_folders(settings, folders: Iterator[Path]) -> None:
    cache.clear()  # of links to another test's storage
    settings.MEDIA_ROOT, settings.WORK_DIR = next(folders), next(folders)
    settings.CPU_WORKERS = 100  # Tests claim more renders of one tenant than a machine would.


@pytest.fixture(autouse=True)
def _no_renewal_of_rows_that_are_not_committed(request: pytest.FixtureRequest, settings) -> None:
    """A lease is renewed over another connection, which does not see the rows of a test that commits nothing: a render
    that takes longer than the time until the first renewal would be lost.
    """
    marker = request.node.get_closest_marker("django_db")
    if marker is None or not marker.kwargs.get("transaction"):
        settings.RENDER_LEASE_RENEW_SECONDS = 3600


@pytest.fixture(autouse=True)
def _room_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test has had logged in this second leaves no line out."""
    limits: dict[str, LineLimit] = defaultdict(LineLimit)
    for name, logger in settings.LOGGING["loggers"].items():
        if "filters" in logger:
            monkeypatch.setattr(logging.getLogger(name), "filters", [limits[each] for each in logger["filters"]])


@pytest.fixture
def plan(db) -> Plan:
    return Plan.objects.create(
        name="Test", prices=full_prices(instant={"480p": 1000}), creates_per_minute=10**6, requests_per_minute=10**6
    )


@pytest.fixture
def acme(plan: Plan) -> Tenant:
    return Tenant.objects.create(name="Acme", plan=plan)


@pytest.fixture
def alice(acme: Tenant) -> Caller:
    return Caller(acme, "alice")


@pytest.fixture
def bob(acme: Tenant) -> Caller:
    """A colleague of Alice."""
    return Caller(acme, "bob")


@pytest.fixture
def charlie(plan: Plan) -> Caller:
    """A stranger."""
    return Caller(Tenant.objects.create(name="Other", plan=plan), "charlie")


@pytest.fixture
def clock(db) -> DatabaseClock:
    return DatabaseClock()


@pytest.fixture(scope="session")
def neighbours() -> Neighbours:
    return Neighbours()


@pytest.fixture
def neighbour(db, neighbours: Neighbours) -> Iterator[Neighbour]:
    """Another tenant, of which nothing may have changed in the end."""
    added = neighbours.add()
    yield added
    added.assert_unchanged()


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient()
