from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ

from render.cluster.broker import PatientBroker
from render.models import Node
from render.queue import tickets
from tests.postgres import break_connection


def added_ticket(queue: str = "cpu") -> str:
    """The payload of a new ticket."""
    tickets.add_ticket(queue)
    payload: str = OrmQ.objects.latest("pk").payload
    return payload


@pytest.fixture
def broker(monkeypatch) -> PatientBroker:
    monkeypatch.setattr(Conf, "POLL", 0.01)
    return PatientBroker("cpu")


@pytest.mark.django_db
def test_a_ticket_is_given_once_and_is_gone_when_it_was_acknowledged(broker) -> None:
    first = added_ticket()

    [(ticket, payload)] = broker.dequeue()

    assert payload == first
    assert broker.dequeue() is None
    broker.acknowledge(ticket)
    assert not OrmQ.objects.exists()


@pytest.mark.django_db
def test_tickets_that_nobody_takes_do_not_become_ever_more(broker, monkeypatch) -> None:
    monkeypatch.setattr(tickets, "MAX_TICKETS", 3)
    first = [added_ticket() for _ in range(3)]
    for _ in range(2):
        tickets.add_ticket("cpu")
    tickets.add_ticket("gpu")

    assert list(OrmQ.objects.filter(key="cpu").order_by("pk").values_list("payload", flat=True)) == first
    assert OrmQ.objects.filter(key="gpu").count() == 1
    broker.acknowledge(broker.dequeue()[0][0])
    tickets.add_ticket("cpu")
    assert OrmQ.objects.filter(key="cpu").count() == 3


@pytest.mark.django_db
def test_the_ticket_of_a_worker_that_died_comes_again(broker) -> None:
    first = added_ticket()
    broker.dequeue()

    OrmQ.objects.update(lock=Now() - timedelta(seconds=1))

    assert [payload for _, payload in broker.dequeue()] == [first]
    assert OrmQ.objects.filter(lock__gt=Now() + timedelta(seconds=Conf.RETRY - 60)).exists()


@pytest.mark.django_db
def test_a_node_that_drains_leaves_the_tickets_to_others(broker, settings) -> None:
    first = added_ticket()
    Node.objects.create(name=settings.NODE_NAME, queue="gpu", draining=True)
    own = Node.objects.create(name=settings.NODE_NAME, queue="cpu", draining=True)

    assert broker.dequeue() is None
    own.draining = False
    own.save()
    assert [payload for _, payload in broker.dequeue()] == [first]


@pytest.mark.parametrize("minutes", [-5, 5])
@pytest.mark.django_db
def test_tickets_are_due_by_the_databases_clock(broker, monkeypatch, minutes: int) -> None:
    wrong = timezone.now() + timedelta(minutes=minutes)
    monkeypatch.setattr(timezone, "now", lambda: wrong)

    first = added_ticket()

    assert [payload for _, payload in broker.dequeue()] == [first]
    assert broker.dequeue() is None


@pytest.mark.django_db(transaction=True)
def test_an_outage_of_the_database_is_waited_out(broker, monkeypatch) -> None:
    monkeypatch.setattr("render.cluster.broker.PAUSE_SECONDS", 0)
    added_ticket()
    [(ticket, _)] = broker.dequeue()

    break_connection()
    with monkeypatch.context() as away:
        away.setitem(connection.settings_dict, "HOST", "/nowhere")
        assert broker.dequeue() is None
        broker.acknowledge(ticket)

    assert OrmQ.objects.filter(pk=ticket).exists()  # It comes once more, and nobody has died of it.
    second = added_ticket()
    assert [payload for _, payload in broker.dequeue()] == [second]
