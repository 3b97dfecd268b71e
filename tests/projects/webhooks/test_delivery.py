"""How messages are sent: by whom, how often, to whom never, and what is told of those that fail."""

import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from django.utils import timezone

from accounts.models import ApiKey, Scope
from projects import tasks
from projects.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.webhooks import delivery as webhook_delivery
from projects.webhooks import outbox, sender
from render.machine import host_lock
from tests.projects.steps import create
from tests.projects.webhooks.steps import DELIVERIES, ENDPOINTS, deliver_webhooks, listen, make_due
from tests.servers.webhook_receiver import Receiver, receiving

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("all_scopes")]


def test_after_any_trouble_it_comes_again_as_the_same_message(alice, endpoint, receiver):
    trouble = [500, "reset", 404, "silent", 301, 503, 429]
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


def test_an_address_inside_is_not_called(alice, monkeypatch):
    """Whatever got into the table, by a name that has moved since or before a rule was there. Which addresses lie
    inside is tested where sources are fetched: the client is the same.
    """
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **named: real("10.0.0.1", *more, **named))
    endpoint = WebhookEndpoint.objects.create(
        tenant=alice.tenant, url="https://rebinding.example/", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    )
    outbox.ping(endpoint)
    deliver_webhooks()

    delivery = WebhookDelivery.objects.get()
    assert delivery.last_status is None
    assert delivery.last_error == "The receiver has no public address, or its name does not exist."


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
