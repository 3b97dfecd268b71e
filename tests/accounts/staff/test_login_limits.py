"""Wrong passwords at the admin's log-in page: how many, from where, and when it is over."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.client import ClientHandler

from accounts.models import FailedLogins
from accounts.staff import login_limits
from accounts.staff.login_limits import ACCOUNTS_OF_ADDRESS, FAILURES, FAILURES_OF_ACCOUNT, LATELY, WINDOW

LOGIN = "/admin/login/?next=/admin/"
RIGHT = "a long right password"


@pytest.fixture
def staff(db, settings) -> User:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    User.objects.create_user("other", password=RIGHT, is_staff=True)
    return User.objects.create_user("staff", password=RIGHT, is_staff=True)


@pytest.fixture(autouse=True, scope="module")
def one_handler() -> Iterator[None]:
    """Each browser here makes one request. It need not load all middleware for it."""
    handler = ClientHandler(enforce_csrf_checks=False)
    handler.load_middleware()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.test.client.ClientHandler", lambda *_: handler)
        yield


def attempt(name: str = "staff", password: str = "wrong", address: str = "10.0.0.1", **headers: str):
    return Client(REMOTE_ADDR=address).post(LOGIN, {"username": name, "password": password}, headers=headers)


def use_up(name: str = "staff", address: str = "10.0.0.1") -> None:
    for _ in range(FAILURES):
        assert attempt(name, address=address).status_code == 200


def pass_time(time: timedelta) -> None:
    FailedLogins.objects.update(started_at=F("started_at") - time, succeeded_at=F("succeeded_at") - time)


def test_after_some_wrong_passwords_the_right_one_must_wait_too(staff):
    use_up()

    refused = attempt(password=RIGHT)

    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= WINDOW.total_seconds()
    assert "Try again in 15 minutes" in refused.content.decode()
    assert "sessionid" not in refused.cookies


def test_others_and_other_addresses_are_not_kept_out(staff):
    use_up()

    assert attempt("other", RIGHT).status_code == 302
    assert attempt(password=RIGHT, address="10.0.0.2").status_code == 302
    assert attempt(password=RIGHT).status_code == 429


def test_whoever_goes_on_does_not_make_the_wait_longer(staff):
    use_up()
    pass_time(WINDOW - timedelta(seconds=30))
    for _ in range(5):
        assert attempt().status_code == 429

    pass_time(timedelta(seconds=31))

    assert attempt(password=RIGHT).status_code == 302


@pytest.mark.parametrize("name", ["STAFF", " staff ", "ſtaff", "staff\u00a0"])
def test_another_spelling_is_the_same_account(staff, name):
    use_up()

    assert attempt(name).status_code == 429


def test_the_right_password_forgets_the_wrong_ones(staff):
    for _ in range(3):
        for _ in range(FAILURES - 1):
            assert attempt().status_code == 200
        assert attempt(password=RIGHT).status_code == 302


def test_one_address_does_not_try_all_accounts(staff):
    assert attempt("other", RIGHT).status_code == 302
    for number in range(ACCOUNTS_OF_ADDRESS):
        assert attempt(f"name-{number}").status_code == 200
    rows = FailedLogins.objects.count()

    refused = attempt("new")

    assert refused.status_code == attempt(password=RIGHT).status_code == attempt("newer").status_code == 429
    assert 0 < int(refused["Retry-After"]) <= WINDOW.total_seconds()
    assert FailedLogins.objects.count() == rows  # Who goes on fills no table.
    assert attempt("name-0").status_code == 200  # One that is counted already, up to its own limit.
    assert attempt("other", RIGHT).status_code == 302  # It was logged in to from here lately.
    assert attempt(password=RIGHT, address="10.0.0.2").status_code == 302
    pass_time(WINDOW)
    assert attempt(password=RIGHT).status_code == 302


def test_accounts_that_are_logged_in_to_in_the_end_do_not_count(staff):
    for number in range(ACCOUNTS_OF_ADDRESS + 1):
        User.objects.create_user(f"name-{number}", password=RIGHT, is_staff=True)
        assert attempt(f"name-{number}").status_code == 200
        assert attempt(f"name-{number}", RIGHT).status_code == 302


def test_many_addresses_do_not_try_one_account_nor_keep_out_who_logs_in_daily(staff):
    assert attempt(password=RIGHT, address="10.0.0.1").status_code == 302
    for number in range(FAILURES_OF_ACCOUNT // FAILURES):
        use_up(address=f"10.0.1.{number}")

    assert attempt(password=RIGHT, address="10.0.0.2").status_code == 429
    assert attempt(password=RIGHT, address="10.0.0.1").status_code == 302
    assert attempt("other", RIGHT, address="10.0.0.2").status_code == 302
    FailedLogins.objects.filter(address="10.0.0.1").update(succeeded_at=login_limits.Now() - LATELY)
    assert attempt(password=RIGHT, address="10.0.0.1").status_code == 429
    pass_time(WINDOW)
    assert attempt(password=RIGHT, address="10.0.0.2").status_code == 302


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("garbage", "", True),
    ],
)
def test_what_counts_as_one_address(staff, first, second, same):
    use_up(address=first)

    assert attempt(address=second).status_code == (429 if same else 200)


@pytest.mark.parametrize(("proxies", "status"), [(0, 429), (1, 200)])
def test_behind_a_proxy_the_clients_address_counts(staff, settings, proxies, status):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    for number in range(FAILURES):
        attempt(**{"X-Forwarded-For": f"10.0.0.{number}"})

    assert attempt(**{"X-Forwarded-For": "10.0.1.1"}).status_code == status


def test_who_is_logged_in_gets_no_more_tries(staff):
    client = Client(REMOTE_ADDR="10.0.0.1")
    client.force_login(User.objects.get(username="other"))
    answers = [client.post(LOGIN, {"username": "staff", "password": "wrong"}).status_code for _ in range(FAILURES + 1)]

    assert answers == [*[200] * FAILURES, 429]


def test_no_name_and_no_password_are_kept(staff):
    attempt("my-password-typed-as-the-name")

    assert "password" not in str(FailedLogins.objects.values())


def test_old_rows_are_deleted_but_not_of_who_logged_in_lately(staff):
    attempt("gone")
    attempt("other", RIGHT)
    pass_time(timedelta(days=1))

    attempt()

    assert FailedLogins.objects.count() == 2
    assert FailedLogins.objects.filter(succeeded_at__isnull=False).count() == 1


def test_a_get_counts_for_nothing(staff):
    for _ in range(FAILURES + 1):
        assert Client().get(LOGIN).status_code == 200

    assert not FailedLogins.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_tries_at_the_same_time_are_all_counted():
    waits: list[int] = []

    def try_once() -> None:
        waits.append(login_limits.count_try("staff", "10.0.0.1"))
        connection.close()

    threads = [threading.Thread(target=try_once) for _ in range(FAILURES + 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(bool(seconds) for seconds in waits) == [*[False] * FAILURES, *[True] * 5]
