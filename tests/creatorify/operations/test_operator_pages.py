"""The operator's report and the operations page: their sums are those of the rows."""

import uuid
from datetime import UTC, datetime

import pytest
from django.test import Client

from accounts.models import UsageEntry
from accounts.periods import Period
from creatorify.operations import report
from creatorify.operations.dashboard import queue_depths
from render.models import Attempt, Node, Render, State
from tests.projects.steps import claim, create

MAY = Period.month(datetime(2026, 5, 1).date())


@pytest.fixture
def month(acme, charlie) -> None:
    cpu, gpu = (Node.objects.create(name=name, queue=name) for name in ("cpu", "gpu"))
    for number in range(40):
        failed = number % 10 == 0
        tenant = acme if number % 2 else charlie.tenant
        created = datetime(2026, 5, 1 + number % 28, 12, tzinfo=UTC)
        render = Render.objects.create(
            tenant=tenant, engine="infinitetalk" if number % 3 else "draft", queue="gpu", image_url="-", audio_url="-",
            parameters={}, state=State.FAILED if failed else State.FINISHED, completed_at=created, created_at=created,
        )  # fmt: skip
        UsageEntry.objects.create(
            tenant=tenant, render_id=render.pk, engine=render.engine, reserved_seconds=10,
            billed_seconds=0 if failed else 10, price_micros=100, amount_micros=0 if failed else 1000, gpu_seconds=30,
            cost_micros=400, created_at=created, currency="USD" if number % 4 else "EUR",
        )  # fmt: skip
        for index, (node, seconds) in enumerate(((cpu, 10.0), (gpu, 20.0)), 1):
            outcome = Attempt.Outcome.FAILED if failed and index == 2 else Attempt.Outcome.DONE
            Attempt.objects.create(
                render=render, number=index, node=node, outcome=outcome, render_seconds=seconds, ended_at=created
            )
    UsageEntry.objects.create(
        tenant=acme, billed_seconds=-5, amount_micros=-500, reason="x", created_at=datetime(2026, 5, 9, tzinfo=UTC)
    )
    for outside, is_test in ((datetime(2026, 6, 1, tzinfo=UTC), False), (datetime(2026, 5, 2, tzinfo=UTC), True)):
        UsageEntry.objects.create(
            tenant=acme, render_id=uuid.uuid4(), reserved_seconds=9, billed_seconds=9, amount_micros=9,
            created_at=outside, is_test=is_test,
        )  # fmt: skip


def sums(rows, *names: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        had = found.setdefault(row.currency, [0.0] * len(names))
        found[row.currency] = [value + getattr(row, name) for value, name in zip(had, names, strict=True)]
    return found


def test_every_table_adds_up_to_the_rows(month) -> None:
    names = ("seconds", "revenue_micros", "gpu_seconds", "cost_micros", "finished", "failed")
    billed = {
        currency: sum(entry.billed_seconds for entry in UsageEntry.objects.filter(currency=currency, is_test=False)
                      if entry.created_at.month == 5)
        for currency in ("USD", "EUR")
    }  # fmt: skip
    whole = sums(report.totals(MAY), *names)

    assert {currency: values[0] for currency, values in whole.items()} == billed
    assert sums(report.by_tenant(MAY), *names) == sums(report.by_engine(MAY), *names) == whole
    assert whole["USD"][1] + whole["EUR"][1] == 36 * 1000 - 500
    assert whole["USD"][5] + whole["EUR"][5] == 4
    days = sums(report.by_day(MAY), "revenue_micros", "cost_micros")
    assert {c: v[0] for c, v in days.items()} == {c: v[1] for c, v in whole.items()}


def test_a_renders_money_goes_to_its_nodes_by_their_time(month) -> None:
    rows = {(row.name, row.currency): row for row in report.by_node(MAY)}

    cpu, gpu = rows["cpu (cpu)", "USD"], rows["gpu (gpu)", "USD"]
    assert gpu.gpu_seconds == 2 * cpu.gpu_seconds
    assert gpu.revenue_micros == pytest.approx(2 * cpu.revenue_micros, abs=1)
    charged = sum(row.revenue_micros for row in rows.values())
    assert charged == pytest.approx(36 * 1000, abs=2)
    assert sum(row.failed for row in rows.values()) == 4


def test_the_page_shows_bars_and_tables(month, admin_client: Client) -> None:
    html = admin_client.get("/admin/report/2026-05/").content.decode()

    assert html.count('class="day"') == 2 * 31
    assert "Acme" in html
    assert "infinitetalk" in html
    assert "90.0 %" in html
    assert admin_client.get("/admin/report/").status_code == 200
    assert admin_client.get("/admin/report/nonsense/").status_code == 404


def test_of_very_many_tenants_the_page_shows_those_with_most_revenue(month, admin_client: Client, monkeypatch) -> None:
    rows = report.by_tenant(MAY)
    monkeypatch.setattr(report, "SHOWN_ROWS", 2)
    assert len(rows) > 2

    html = admin_client.get("/admin/report/2026-05/").content.decode()

    most = sorted(rows, key=lambda row: row.revenue_micros)[-2:]
    assert f"{len(rows) - 2} more rows have less revenue" in html
    for name in {row.name for row in rows}:
        assert html.count(f"<td>{name}</td>") == sum(row.name == name for row in most)


def test_the_operations_page_tells_why_renders_wait(alice, plan, admin_client: Client) -> None:
    plan.max_concurrent = 1
    plan.save()
    for _ in range(3):
        create(alice)
    claim()

    [depth] = queue_depths()
    assert (depth.name, depth.waiting, depth.running) == ("cpu", 2, 1)
    assert depth.reasons == [("concurrency_limit", 2)]
    html = admin_client.get("/admin/operations/").content.decode()
    assert "2 concurrency_limit" in html
    assert "Acme, prepare" in html
