"""Webhooks: a receiver on loopback that verifies every message with the specification's own library."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import trustme
from django.utils import timezone

from accounts.api_keys import services as keys
from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import ApiKey, Plan, Scope
from projects import services, tasks
from projects.models import Project
from projects.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.webhooks import delivery as webhook_delivery
from projects.webhooks import outbox, sender
from render.lifecycle import reaper, transitions
from render.machine import host_lock
from render.models import Render
from tests.hostile_addresses import FORBIDDEN_URLS, INSIDE_URLS
from tests.projects.steps import NEW, claim, create, finish, finished_project
from tests.webhook_receiver import Receiver, receiving

ENDPOINTS, DELIVERIES = "/api/v1/webhook-endpoints", "/api/v1/webhook-deliveries"
ALL = [f"project.{name}" for name in ("queued", "processing", "finished", "failed", "canceled")]

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver(settings, monkeypatch) -> Iterator[Receiver]:
    settings.ALLOW_PRIVATE_MEDIA_URLS = True
    monkeypatch.setattr(sender, "TOTAL_SECONDS", 0.5)
    with receiving() as state:
        yield state


@pytest.fixture
def alice(alice):
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=list(Scope))
    return alice


@pytest.fixture
def endpoint(alice, receiver) -> dict:
    made = alice.post(ENDPOINTS, {"url": receiver.url, "events": ALL}, format="json")
    assert made.status_code == 201, made.content
    receiver.secrets.append(made.json()["secret"])
    return made.json()


def deliver_webhooks() -> None:
    """As the ticket does, but here and now."""
    while outbox.fan_out():
        pass
    webhook_delivery.send_due()


def make_due() -> None:
    WebhookDelivery.objects.exclude(next_try_at=None).update(next_try_at=timezone.now())


def test_what_happens_to_a_project_is_told_and_verified(alice, endpoint, receiver):
    project = finished_project(alice)
    deliver_webhooks()

    assert receiver.types == ["project.queued", "project.processing", "project.finished"]
    assert receiver.rejected == 0
    versions = [body["data"]["version"] for _, body in receiver.got]
    assert versions == sorted(versions)
    last = receiver.got[-1][1]
    assert set(last) == {"type", "timestamp", "data"} and last["timestamp"].endswith("Z")
    shown = alice.get(project["urls"]["self"]).json()
    assert (last["data"]["id"], last["data"]["status"]) == (project["id"], "finished")
    assert set(last["data"]) == {*shown, "version"}


@pytest.mark.parametrize("end", ["failed", "canceled"])
def test_a_bad_end_is_told_once(alice, endpoint, receiver, end):
    project = create(alice)
    if end == "failed":
        transitions.fail(claim(), ServiceError("no_face", "No face.", param="image_url"))
    else:
        alice.post(project["urls"]["cancel"])
        alice.post(project["urls"]["cancel"])
    deliver_webhooks()
    deliver_webhooks()

    assert [kind for kind in receiver.types if kind not in ("project.queued", "project.processing")] == [
        f"project.{end}"
    ]
    assert receiver.got[-1][1]["data"]["error_code"] == ("no_face" if end == "failed" else "canceled")


def test_the_event_is_there_with_the_change_or_neither_is(alice, endpoint, monkeypatch):
    create(alice)
    claimed = claim()
    before = WebhookEvent.objects.count()
    monkeypatch.setattr(outbox, "enqueue", lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        transitions.fail(claimed, ServiceError("no_face", "No face."))
    assert WebhookEvent.objects.count() == before
    assert claimed.render_id in Project.objects.get().takes.values_list("render_id", flat=True)
    assert Project.objects.get().takes.get().render.state == "running"


def test_a_render_that_is_claimed_again_is_told_of_once(alice, endpoint, receiver):
    create(alice)
    transitions.hand_back(claim())
    finish(claim())
    deliver_webhooks()

    assert receiver.types == ["project.queued", "project.processing", "project.finished"]
    assert len({message for message, _ in receiver.got}) == 3


def test_each_take_is_told_as_it_was(alice, endpoint, receiver):
    project = create(alice)
    transitions.fail(claim(), ServiceError("no_face", "No face."))
    services.retry(Project.objects.get(pk=project["id"]), None)
    deliver_webhooks()

    failed = next(body for _, body in receiver.got if body["type"] == "project.failed")
    assert (failed["data"]["status"], len(failed["data"]["takes"])) == ("failed", 1)
    assert receiver.types.count("project.queued") == 2


@pytest.mark.parametrize("trouble", [[500], [503, 429], [301], ["reset"], ["silent"], [500, "reset", 404, "silent"]])
def test_after_any_trouble_it_comes_again_as_the_same_message(alice, endpoint, receiver, trouble):
    receiver.answers = list(trouble)
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    for tries in range(1, len(trouble) + 1):
        deliver_webhooks()
        delivery = WebhookDelivery.objects.get()
        assert (delivery.tries, delivery.delivered_at) == (tries, None)
        wait = (delivery.next_try_at - timezone.now()).total_seconds()
        assert wait == pytest.approx(webhook_delivery.RETRY_SECONDS[tries - 1], rel=0.2, abs=1.5)
        make_due()
    deliver_webhooks()

    delivery = WebhookDelivery.objects.get()
    assert delivery.delivered_at and delivery.next_try_at is None and delivery.last_status == 204
    assert len(receiver.got) == len(trouble) + 1 and receiver.rejected == 0
    assert {message for message, _ in receiver.got} == {f"msg_{delivery.pk.hex}"}
    assert len({str(body) for _, body in receiver.got}) == 1
    assert WebhookEndpoint.objects.get().failing_since is None


def told_beside(receiver: Receiver, caller) -> list[str]:
    """Who is told, in this order: the receiver, which is silent until the other one was told of everything, of what
    waits for it; and one that answers, of three messages of the caller's that came later.
    """
    told = []
    everything = threading.Event()

    def keep_silent(message: str) -> str:
        told.append("silent")
        everything.wait(20)
        return "reset"

    def answer(message: str) -> int:
        told.append("answers")
        if told.count("answers") == 3:
            everything.set()
        return 204

    receiver.answer = keep_silent
    with receiving() as other, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender, "TOTAL_SECONDS", 60)
        other.answer = answer
        good = caller.post(ENDPOINTS, {"url": other.url}, format="json").json()
        for _ in range(3):
            caller.post(f"{ENDPOINTS}/{good['id']}/test")
        deliver_webhooks()
    return told


def test_receivers_that_do_not_answer_keep_nothing_from_others(alice, endpoint, charlie, receiver):
    ApiKey.objects.filter(pk=charlie.key.pk).update(scopes=list(Scope))
    for _ in range(3):
        alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")

    told = told_beside(receiver, charlie)

    # One at a time for each, and each when the one before has ended.
    assert sorted(told[:4]) == ["answers", "answers", "answers", "silent"]
    assert told[4:] == ["silent", "silent"]


def test_a_tenant_has_so_many_messages_under_way_at_once(alice, receiver, monkeypatch):
    monkeypatch.setattr(webhook_delivery, "OF_A_TENANT", 2)
    under_way = {"now": 0, "most": 0}
    lock = threading.Lock()

    def answer(message: str) -> int:
        with lock:
            under_way["now"] += 1
            under_way["most"] = max(under_way.values())
        time.sleep(0.1)
        with lock:
            under_way["now"] -= 1
        return 204

    receiver.answer = answer
    for number in range(4):
        made = alice.post(ENDPOINTS, {"url": f"{receiver.url}/{number}"}, format="json").json()
        alice.post(f"{ENDPOINTS}/{made['id']}/test")
    deliver_webhooks()

    assert not WebhookDelivery.objects.filter(delivered_at=None).exists()
    assert under_way == {"now": 0, "most": 2}


def test_no_message_is_claimed_that_has_to_wait_for_a_thread(alice, receiver, monkeypatch):
    """Its sender's time would run meanwhile."""
    monkeypatch.setattr(webhook_delivery, "AT_ONCE", 2)
    under_way = []
    real = webhook_delivery._claim
    monkeypatch.setattr(webhook_delivery, "_claim", lambda sent: under_way.append(len(sent)) or real(sent))
    for number in range(4):
        made = alice.post(ENDPOINTS, {"url": f"{receiver.url}/{number}"}, format="json").json()
        alice.post(f"{ENDPOINTS}/{made['id']}/test")

    deliver_webhooks()

    assert not WebhookDelivery.objects.filter(delivered_at=None).exists()
    assert set(under_way) == {0, 1}


def test_those_that_have_failed_wait_for_one_another_and_hear_no_progress(alice, endpoint, receiver, monkeypatch):
    monkeypatch.setattr(webhook_delivery, "OF_A_TENANT", 3)
    listen(alice, endpoint, "project.progress")
    failing = [endpoint["id"]]
    failing += [alice.post(ENDPOINTS, {"url": f"{receiver.url}/{n}"}, format="json").json()["id"] for n in range(3)]
    WebhookEndpoint.objects.update(failing_since=timezone.now())
    for each in failing:
        alice.post(f"{ENDPOINTS}/{each}/test")

    told = told_beside(receiver, alice)

    assert sorted(told[:4]) == ["answers", "answers", "answers", "silent"]
    assert told[4:] == ["silent"] * 3

    create(alice)
    event = WebhookEvent.objects.get(type="project.queued")
    WebhookEvent.objects.filter(pk=event.pk).update(type="project.progress", handed_out_at=None)
    deliver_webhooks()
    assert not event.deliveries.exists()


def test_one_process_of_a_machine_sends(alice, endpoint, receiver):
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    with host_lock.try_lock("webhooks"):
        deliver_webhooks()
    assert receiver.got == []

    deliver_webhooks()
    assert receiver.types == ["ping"]


@pytest.mark.django_db(transaction=True)
def test_a_ticket_leaves_it_to_a_thread(alice, endpoint, receiver):
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    tasks.deliver_webhooks()
    for thread in threading.enumerate():
        if thread.name == "webhooks":
            thread.join(20)

    assert receiver.types == ["ping"]
    assert WebhookDelivery.objects.get().delivered_at


def test_nothing_is_sent_again_to_an_endpoint_that_is_disabled(alice, endpoint, receiver):
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    alice.patch(f"{ENDPOINTS}/{endpoint['id']}", {"enabled": False}, format="json")

    refused = alice.post(f"{DELIVERIES}/{WebhookDelivery.objects.get().pk}/redeliver")

    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")


def test_it_waits_as_long_as_the_receiver_asks(alice, endpoint, receiver):
    receiver.answers, receiver.headers = [503], {"Retry-After": "3600"}
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    deliver_webhooks()

    wait = (WebhookDelivery.objects.get().next_try_at - timezone.now()).total_seconds()
    assert wait == pytest.approx(3600, abs=5)


def test_in_the_end_it_is_given_up_and_can_be_sent_again(alice, endpoint, receiver):
    receiver.answers = [500] * 10
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    for _ in range(10):
        deliver_webhooks()
        make_due()
    deliver_webhooks()
    [given_up] = alice.get(f"{DELIVERIES}?delivered=false").json()["data"]
    assert (given_up["tries"], given_up["next_try_at"], given_up["last_status"]) == (10, None, 500)

    assert alice.post(f"{DELIVERIES}/{given_up['id']}/redeliver").status_code == 202
    deliver_webhooks()
    assert alice.get(f"{DELIVERIES}?delivered=false").json()["data"] == []
    assert len({message for message, _ in receiver.got}) == 1


def test_a_sender_that_died_leaves_it_to_the_next(alice, endpoint, receiver, monkeypatch):
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")

    def die(delivery):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(sender, "send", die)
        with pytest.raises(SystemExit):
            deliver_webhooks()
    deliver_webhooks()
    assert receiver.got == []  # It is in somebody's hands.
    make_due()
    deliver_webhooks()
    assert receiver.types == ["ping"]


def test_a_new_secret_is_good_beside_the_old_one_for_a_while(alice, endpoint, receiver):
    old = list(receiver.secrets)
    new = alice.post(f"{ENDPOINTS}/{endpoint['id']}/rotate-secret", {"overlap_hours": 1}, format="json").json()[
        "secret"
    ]
    for secrets in (old, [new]):
        receiver.secrets = secrets
        alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
        deliver_webhooks()
    assert (len(receiver.got), receiver.rejected) == (2, 0)

    WebhookEndpoint.objects.update(previous_until=timezone.now() - timedelta(seconds=1))
    receiver.secrets = old
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    deliver_webhooks()
    assert receiver.rejected == 1


def test_it_signs_as_the_specification_does():
    endpoint = WebhookEndpoint(secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    moment = datetime.fromtimestamp(1614265330, tz=UTC)

    signed = sender.signatures(endpoint, "msg_p5jXN8AQM9LWM0D4loKWxJek", moment, '{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(("answer", "reason"), [(410, "gone"), (500, "failing")])
def test_an_endpoint_that_is_gone_or_fails_for_days_is_disabled_until_it_is_enabled(
    alice, endpoint, receiver, answer, reason
):
    WebhookEndpoint.objects.update(failing_since=timezone.now() - timedelta(days=5, minutes=1))
    receiver.answers = [answer]
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    deliver_webhooks()

    shown = alice.get(f"{ENDPOINTS}/{endpoint['id']}").json()
    assert (shown["enabled"], shown["disabled_reason"]) == (False, reason)
    make_due()
    create(alice)
    deliver_webhooks()
    assert len(receiver.got) == 1
    refused = alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")

    enabled = alice.patch(f"{ENDPOINTS}/{endpoint['id']}", {"enabled": True}, format="json").json()
    assert (enabled["enabled"], enabled["disabled_reason"], enabled["failing_since"]) == (True, "", None)
    deliver_webhooks()
    assert len(receiver.got) == 2


def test_only_what_was_asked_for_is_told_and_only_to_whom(alice, charlie, endpoint, receiver):
    alice.patch(f"{ENDPOINTS}/{endpoint['id']}", {"events": ["project.finished"]}, format="json")
    finished_project(alice)
    finished_project(charlie)
    ApiKey.objects.filter(pk=alice.key.pk).update(mode="test")
    create(alice, parameters={"engine": "draft"})
    deliver_webhooks()

    assert receiver.types == ["project.finished"]
    assert alice.get(ENDPOINTS).json()["data"] == []  # A test key sees its own.


def test_the_secret_is_shown_once(alice, endpoint):
    assert endpoint["secret"].startswith("whsec_")
    assert "secret" not in alice.get(f"{ENDPOINTS}/{endpoint['id']}").json()
    assert "secret" not in alice.get(ENDPOINTS).json()["data"][0]
    body = {"url": "http://127.0.0.1:1/"}
    first = alice.post(ENDPOINTS, body, format="json", HTTP_IDEMPOTENCY_KEY="k").json()
    again = alice.post(ENDPOINTS, body, format="json", HTTP_IDEMPOTENCY_KEY="k").json()
    assert first["secret"] and again["secret"] is None and again["id"] == first["id"]


def test_nobody_without_the_scope_may(alice):
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=[Scope.PROJECTS_READ, Scope.PROJECTS_WRITE])

    assert alice.get(ENDPOINTS).status_code == alice.get(DELIVERIES).status_code == 403


@pytest.mark.parametrize("url", [url for url in FORBIDDEN_URLS if url] + ["http://example.com/hook"])
def test_an_address_that_is_never_called_is_refused(alice, url):
    refused = alice.post(ENDPOINTS, {"url": url}, format="json")

    assert (refused.status_code, refused.json()["param"]) == (422, "url")


@pytest.mark.parametrize("url", INSIDE_URLS)
def test_an_address_inside_is_not_called(alice, url, monkeypatch):
    """Whatever got into the table, by a name that has moved since or before a rule was there."""
    names = {"localhost.": "127.0.0.1", "127.0.0.1.": "127.0.0.1"}
    real = socket.getaddrinfo

    def resolve(host, *arguments, **named):
        inside = "10.0.0.1" if urlsplit(f"//{host}").path or host.endswith((".example", ".internal")) else host
        return real(names.get(host, inside), *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    endpoint = WebhookEndpoint.objects.create(
        tenant=alice.tenant, url=url, secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    )
    outbox.ping(endpoint)
    deliver_webhooks()

    delivery = WebhookDelivery.objects.get()
    assert delivery.last_status is None
    assert delivery.last_error in (
        "The receiver has no public address, or its name does not exist.",
        "The receiver has an address that cannot be used.",
    )


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (500, "The receiver answered 500 (Internal Server Error)."),
        (301, "The receiver answered 301 (Moved Permanently), which is a redirect, and redirects are not followed."),
        ("reset", "The receiver broke the connection off."),
        ("silent", "The receiver took too long to answer."),
    ],
)
def test_what_went_wrong_is_told_and_logged(alice, endpoint, receiver, trouble, told, caplog):
    receiver.answers = [trouble]
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    deliver_webhooks()

    [delivery] = alice.get(DELIVERIES).json()["data"]
    assert (delivery["last_error"], delivery["tries"]) == (told, 1)
    [line] = [record.getMessage() for record in caplog.records if record.name == "projects.webhooks.delivery"]
    assert endpoint["id"] in line and delivery["id"] in line and line.endswith(f"has failed at try 1: {told}")
    assert receiver.url not in caplog.text

    make_due()
    deliver_webhooks()
    assert alice.get(f"{DELIVERIES}/{delivery['id']}").json()["last_error"] == ""


def test_a_bad_certificate_and_a_refused_port_are_different_things(alice, endpoint, receiver, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with receiving(context=context) as secure, socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        listener.close()
        told = {}
        for url in (secure.url.replace("http://127.0.0.1", "https://localhost"), nobody, "http://nowhere.invalid/"):
            alice.patch(f"{ENDPOINTS}/{endpoint['id']}", {"url": url}, format="json")
            alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
            deliver_webhooks()
            told[url] = alice.get(DELIVERIES).json()["data"][0]["last_error"]

    certificate, refused, name = told.values()
    assert certificate.startswith("The receiver uses a certificate whose issuer is not known, or without")
    assert refused == "The receiver refuses the connection: nothing listens at this port."
    assert " name " in name


def test_a_receiver_may_ask_to_wait_until_a_date(alice, endpoint, receiver):
    receiver.answers, receiver.headers = [503], {"Retry-After": "Fri, 31 Dec 2199 23:59:59 GMT"}
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    deliver_webhooks()

    wait = WebhookDelivery.objects.get().next_try_at - timezone.now()
    assert wait.total_seconds() == pytest.approx(sender.LONGEST_RETRY_AFTER, rel=0.01)


def test_who_wants_to_be_told_of_nothing_costs_nothing(alice):
    finished_project(alice)

    assert not WebhookEvent.objects.exists()


@pytest.fixture
def own(alice, receiver) -> str:
    """The secret of messages to `webhook_url`: shown when it is made anew."""
    create(alice, webhook_url=receiver.url)
    [made] = alice.get(ENDPOINTS).json()["data"]
    assert made["url"] is None and "secret" not in made
    secret = alice.post(f"{ENDPOINTS}/{made['id']}/rotate-secret", {"overlap_hours": 0}, format="json").json()["secret"]
    receiver.secrets.append(secret)
    finish(claim())
    deliver_webhooks()
    assert receiver.types == ["project.finished"]
    receiver.got.clear()
    return f"{ENDPOINTS}/{made['id']}"


def test_a_project_is_told_of_at_its_own_url(alice, own, receiver):
    told = create(alice, webhook_url=f"{receiver.url}?job=7")
    create(alice)
    for _ in range(2):
        finish(claim())
    deliver_webhooks()

    [(_, message)] = receiver.got
    assert (message["data"]["id"], message["data"]["webhook_url"]) == (told["id"], f"{receiver.url}?job=7")
    assert receiver.rejected == 0 and WebhookEndpoint.objects.count() == 1
    [delivery] = alice.get(DELIVERIES).json()["data"][:1]
    assert delivery["url"] == f"{receiver.url}?job=7"


def test_it_is_told_of_there_and_at_the_endpoints(alice, own, endpoint, receiver):
    finished_project(alice, webhook_url=receiver.url)
    deliver_webhooks()

    assert sorted(receiver.types) == ["project.finished", "project.finished", "project.processing", "project.queued"]
    assert receiver.rejected == 0


def test_a_receiver_of_one_project_says_nothing_about_those_of_others(alice, own, receiver):
    receiver.answers = [410, 500]
    for _ in range(2):
        finished_project(alice, webhook_url=receiver.url)
    deliver_webhooks()

    assert alice.get(own).json()["enabled"] is True and alice.get(own).json()["failing_since"] is None
    gone, failed = WebhookDelivery.objects.filter(delivered_at=None).order_by("last_status").reverse()
    assert (gone.last_status, failed.last_status) == (500, 410)
    assert gone.next_try_at is not None and failed.next_try_at is None


def test_the_endpoint_of_projects_own_urls_can_be_changed_but_for_its_url(alice, own):
    refused = alice.patch(own, {"url": "https://example.com/"}, format="json")
    assert (refused.status_code, refused.json()["param"]) == (422, "url")
    assert alice.post(f"{own}/test").json()["code"] == "invalid_state"
    changed = alice.patch(own, {"events": ["project.failed"], "enabled": False}, format="json").json()
    assert (changed["events"], changed["enabled"]) == (["project.failed"], False)


@pytest.mark.parametrize("url", [url for url in FORBIDDEN_URLS if url] + ["http://example.com/hook"])
def test_a_project_with_an_address_that_is_never_called_is_refused(alice, url):
    refused = alice.post("/api/v1/projects", {**NEW, "webhook_url": url}, format="json")

    assert (refused.status_code, refused.json()["param"]) == (422, "webhook_url")
    assert not Project.objects.exists()


def test_a_dry_run_or_no_webhook_url_makes_no_endpoint(alice, receiver):
    alice.post("/api/v1/projects?dry_run=true", {**NEW, "webhook_url": receiver.url}, format="json")
    for nothing in (None, ""):
        assert create(alice, webhook_url=nothing)["webhook_url"] is None

    assert not WebhookEndpoint.objects.exists()


def listen(alice, endpoint, *events):
    changed = alice.patch(f"{ENDPOINTS}/{endpoint['id']}", {"events": list(events)}, format="json")
    assert changed.status_code == 200, changed.content


def later(seconds: float) -> None:
    WebhookEvent.objects.update(created_at=timezone.now() - timedelta(seconds=seconds))


def test_progress_is_told_to_who_wants_it_every_ten_seconds_at_most(alice, charlie, endpoint, receiver):
    listen(alice, endpoint, "project.progress")
    for tenant in (alice, charlie):
        create(tenant)
    claims = [claim(), claim()]

    def move(percent: int) -> None:
        Render.objects.filter(pk__in=[claimed.render_id for claimed in claims]).update(progress=percent)
        reaper.run()
        deliver_webhooks()

    move(10)
    move(20)
    assert [body["data"]["progress"] for _, body in receiver.got] == [10]
    later(10.1)
    move(30)
    later(10.1)
    move(30)  # No news.
    assert [body["data"]["progress"] for _, body in receiver.got] == [10, 30]
    for claimed in claims:
        finish(claimed)
    later(10.1)
    reaper.run()
    deliver_webhooks()
    assert receiver.types == ["project.progress"] * 2


def test_progress_is_tried_once(alice, endpoint, receiver):
    listen(alice, endpoint, "project.progress")
    create(alice)
    claim()
    receiver.answers = [500]
    reaper.run()
    deliver_webhooks()

    delivery = WebhookDelivery.objects.get()
    assert (delivery.tries, delivery.delivered_at, delivery.next_try_at) == (1, None, None)


def test_progress_of_what_has_ended_meanwhile_is_not_told(alice, endpoint, receiver):
    listen(alice, endpoint, "project.progress", "project.finished")
    create(alice)
    claimed = claim()
    reaper.run()
    finish(claimed)
    deliver_webhooks()

    assert receiver.types == ["project.finished"]


def test_a_threshold_is_told_once(alice, charlie, endpoint, receiver):
    listen(alice, endpoint, "usage.threshold_reached")
    for tenant in (alice, charlie):
        Plan.objects.filter(tenants=tenant.tenant).update(monthly_seconds=10)
        finished_project(tenant)
    quota.adjust(alice.tenant, seconds=6, amount_micros=0, reason="test", author=None)
    create(alice)
    for _ in range(2):
        reaper.run()
        deliver_webhooks()

    [(_, message)] = receiver.got
    version = message["data"].pop("version")
    assert version and message["type"] == "usage.threshold_reached"
    month = f"{timezone.now():%Y-%m}"
    assert message["data"] == {
        **{"measure": "seconds", "percent": 80, "used": 9, "allowed": 10},
        **{"month": month, "currency": "USD"},
    }


def test_a_key_that_expires_is_told_of_unless_it_was_rotated(alice, charlie, endpoint, receiver):
    listen(alice, endpoint, "api_key.expiring")
    soon = timezone.now() + timedelta(days=6)
    expiring, _ = keys.make(alice.tenant, name="soon", expires_at=soon)
    keys.make(alice.tenant, name="later", expires_at=soon + timedelta(days=2))
    keys.make(alice.tenant, name="test", mode=ApiKey.Mode.TEST, expires_at=soon)
    keys.make(charlie.tenant, name="another's", expires_at=soon)
    rotated, _ = keys.make(alice.tenant, name="rotated", expires_at=soon)
    keys.rotate(rotated, overlap=timedelta(days=1), expires_at=None)
    for _ in range(2):
        reaper.run()
        deliver_webhooks()

    [(_, message)] = receiver.got
    assert message["data"] | {"version": 0} == {
        **{"id": str(expiring.pk), "name": "soon", "prefix": expiring.prefix, "mode": "live"},
        **{"expires_at": soon.isoformat(), "version": 0},
    }


def test_another_endpoint_hears_of_one_that_was_disabled(alice, endpoint, receiver):
    listen(alice, endpoint, "webhook_endpoint.disabled")
    with receiving() as other:
        broken = alice.post(ENDPOINTS, {"url": other.url}, format="json").json()
        other.answers = [410]
        alice.post(f"{ENDPOINTS}/{broken['id']}/test")
        deliver_webhooks()
        deliver_webhooks()

    [(_, message)] = receiver.got
    assert message["type"] == "webhook_endpoint.disabled"
    assert (message["data"]["id"], message["data"]["url"]) == (broken["id"], broken["url"])
    assert message["data"]["reason"] == "gone"


def test_staff_see_where_a_message_went(admin_client, alice, endpoint):
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")

    rows = admin_client.get("/admin/projects/webhookdelivery/").content.decode()
    delivery = WebhookDelivery.objects.get()
    page = admin_client.get(f"/admin/projects/webhookdelivery/{delivery.pk}/change/").content.decode()

    assert f'<td class="field-receiver">{endpoint["url"]}</td>' in rows
    assert endpoint["url"] in page


def test_staff_see_what_is_wrong_with_an_endpoint(admin_client, alice, endpoint, receiver):
    receiver.answers = [500]
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    deliver_webhooks()
    delivery = WebhookDelivery.objects.get()

    page = admin_client.get(f"/admin/projects/webhookendpoint/{endpoint['id']}/change/").content.decode()
    of_endpoint = admin_client.get(f"/admin/projects/webhookdelivery/?q={endpoint['id']}").content.decode()

    assert delivery.last_error and delivery.last_error in page
    assert f"/admin/projects/webhookdelivery/?q={endpoint['id']}" in page
    assert f"waiting: {delivery.last_error}" in of_endpoint

    WebhookEndpoint.objects.update(disabled_at=timezone.now())
    of_endpoint = admin_client.get(f"/admin/projects/webhookdelivery/?q={endpoint['id']}").content.decode()
    assert f"not sent, because the endpoint is disabled: {delivery.last_error}" in of_endpoint
