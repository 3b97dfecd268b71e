"""/api/v1/usage: whatever is asked for, the sums are those of the rows."""

import csv
import io
import random
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db.models import Sum

from accounts import prices
from accounts.api_keys import keys
from accounts.billing import quota, reports, statements
from accounts.models import ApiKey, Tenant, UsageEntry
from accounts.periods import Period, next_month
from tests.conftest import Caller
from tests.prices import full_prices

USAGE = "/api/v1/usage"
YEAR = {"start": "2026-01-01", "end": "2027-01-01"}
NUMBER = 500
NUMBERS = ["renders", "billed_seconds", "amount_micros", "held_seconds"]


@pytest.fixture
def rows(acme, alice, bob, charlie) -> list[UsageEntry]:
    """A year of renders, holds, failures and adjustments in two currencies, and some of others."""
    chance = random.Random(0)
    entries = []
    for number in range(NUMBER):
        created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(365 * 24 * 60))
        kind = chance.choice(["charge"] * 6 + ["failed", "hold", "adjustment"])
        seconds, price = chance.randrange(1, 600), chance.choice([0, 15_000, 33_333])
        currency = "EUR" if created.month > 6 else "USD"
        billed = {"charge": seconds, "failed": 0, "hold": None, "adjustment": -seconds}[kind]
        held = kind == "hold"
        entries.append(
            UsageEntry(
                tenant=acme,
                api_key=chance.choice([alice.key, bob.key, None]),
                render_id=None if kind == "adjustment" else uuid.UUID(int=number),
                engine="" if kind == "adjustment" else chance.choice(["draft", "infinitetalk"]),
                resolution=chance.choice(["480p", "720p"]),
                upscale=chance.choice(["none", "none", "1080p"]),
                user_label=chance.choice(["ann", "ben", "=1+1"]),
                reserved_seconds=seconds,
                billed_seconds=billed,
                price_micros=price,
                amount_micros=(seconds if held else billed) * price,
                currency=currency,
                gpu_seconds=3.5,
                reason="A correction" if kind == "adjustment" else "",
                created_at=created,
                settled_at=None if held else created + timedelta(minutes=5),
            )
        )
    UsageEntry.objects.bulk_create(entries)
    day = datetime(2026, 5, 5, tzinfo=UTC)
    for tenant, is_test in ((charlie.tenant, False), (acme, True)):
        UsageEntry.objects.create(
            tenant=tenant, is_test=is_test, render_id=uuid.uuid4(), engine="draft", reserved_seconds=9,
            billed_seconds=9, amount_micros=9, created_at=day,
        )  # fmt: skip
    return entries


def expected(rows: list[UsageEntry]) -> dict[str, tuple[int, int]]:
    """Seconds and amount by currency, added up by hand."""
    settled = [row for row in rows if row.billed_seconds is not None]
    return {
        currency: (
            sum(row.billed_seconds for row in settled if row.currency == currency),
            sum(row.amount_micros for row in settled if row.currency == currency),
        )
        for currency in ("EUR", "USD")
    }


def sums(groups: list[dict]) -> dict[str, tuple[int, int]]:
    return {
        currency: (
            sum(group["billed_seconds"] for group in groups if group["currency"] == currency),
            sum(group["amount_micros"] for group in groups if group["currency"] == currency),
        )
        for currency in ("EUR", "USD")
    }


@pytest.mark.parametrize(
    "group_by",
    [
        "day",
        "month",
        "key",
        "user_id",
        "engine",
        "resolution",
        "upscale",
        "month,engine,resolution,upscale",
        "day,key,user_id",
    ],
)
def test_every_grouping_adds_up_to_the_rows(alice, rows, group_by):
    body = alice.get(USAGE, {**YEAR, "group_by": group_by}).json()

    assert sums(body["data"]) == sums(body["totals"]) == expected(rows)
    as_csv = read_csv(alice.get(USAGE, {**YEAR, "group_by": group_by, "as": "csv"}))
    assert [{**row, **{name: int(row[name]) for name in NUMBERS}} for row in as_csv] == [
        {name: f"'{value}" if value == "=1+1" else value for name, value in group.items()} for group in body["data"]
    ]
    names = group_by.split(",")
    keys_of_groups = [(*(group[name] for name in names), group["currency"]) for group in body["data"]]
    assert len(set(keys_of_groups)) == len(keys_of_groups) > 1
    assert sum(group["renders"] for group in body["data"]) == sum(
        row.render_id is not None and row.billed_seconds is not None for row in rows
    )
    assert sum(group["held_seconds"] for group in body["data"]) == sum(
        row.reserved_seconds for row in rows if row.billed_seconds is None
    )


def test_rows_and_files_add_up_to_the_same(alice, rows, acme):
    entries, cursor = [], None
    while True:
        page = alice.get(f"{USAGE}/entries", {**YEAR, "limit": 100, **({"cursor": cursor} if cursor else {})}).json()
        entries += page["data"]
        if not (cursor := page["next_cursor"]):
            break
    assert len(entries) == NUMBER
    assert sums([entry for entry in entries if entry["kind"] != "hold"]) == expected(rows)

    own = read_csv(alice.get(f"{USAGE}/entries", {**YEAR, "as": "csv"}))
    assert len(own) == NUMBER
    numbers = [
        {**row, "billed_seconds": int(row["billed_seconds"]), "amount_micros": int(row["amount_micros"])} for row in own
    ]
    assert sums(numbers) == expected(rows)

    focus = read_csv(alice.get(f"{USAGE}/entries", {**YEAR, "as": "focus"}))
    for currency, (_, amount) in expected(rows).items():
        billed = sum(Decimal(row["BilledCost"]) for row in focus if row["BillingCurrency"] == currency)
        assert billed * 1_000_000 == amount

    months = [
        statements.make(acme, datetime(2026, month, 1, tzinfo=UTC).date(), is_test=False) for month in range(1, 13)
    ]
    assert sums([total for month in months for total in month.totals]) == expected(rows)
    for currency, (_, amount) in expected(rows).items():
        listed = sum(line["total_micros"] for month in months for line in month.lines if line["currency"] == currency)
        corrected = sum(row.amount_micros for month in months for row in month.adjustments if row.currency == currency)
        assert listed + corrected == amount


def read_csv(response) -> list[dict[str, str]]:
    assert response["Content-Type"].startswith("text/csv")
    assert "attachment" in response["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(response.getvalue().decode())))


def test_a_file_is_read_while_it_is_sent_and_not_before(alice, acme, charlie, monkeypatch):
    """However many rows there are, so many are in memory."""
    day = datetime(2026, 5, 5, tzinfo=UTC)
    UsageEntry.objects.bulk_create(
        UsageEntry(tenant=tenant, render_id=uuid.uuid4(), created_at=day + timedelta(minutes=(number + 1) // 2))
        for tenant in (acme, charlie.tenant)
        for number in range(4100)
    )
    read, from_db = [], UsageEntry.from_db

    def counting(*args):
        read.append(from_db(*args))
        return read[-1]

    monkeypatch.setattr(UsageEntry, "from_db", counting)
    answer = alice.get(f"{USAGE}/entries", {**YEAR, "as": "csv"})
    pieces = iter(answer)
    assert (answer.streaming, len(read)) == (True, 0)
    beginning = [next(pieces) for _ in range(2)]
    assert len(read) == 2000

    own = list(csv.DictReader(io.StringIO(b"".join([*beginning, *pieces]).decode())))
    mine = UsageEntry.objects.filter(tenant=acme).order_by("created_at", "pk")
    assert [int(row["id"]) for row in own] == list(mine.values_list("pk", flat=True))


@pytest.mark.parametrize("form", ["json", "csv"])
def test_more_groups_than_an_answer_holds_are_refused(alice, charlie, rows, monkeypatch, form):
    monkeypatch.setattr(reports, "MAX_GROUPS", 24)
    groups = {**YEAR, "group_by": "month,user_id", "as": form}
    assert alice.get(USAGE, {**groups, "end": "2026-09-01"}).status_code == 200

    refused = alice.get(USAGE, groups)

    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (422, "invalid", "group_by")
    assert "more than 24 groups" in refused.json()["detail"]
    assert charlie.get(USAGE, groups).status_code == 200


def test_a_spreadsheet_finds_no_formula(alice, rows):
    own = read_csv(alice.get(f"{USAGE}/entries", {**YEAR, "as": "csv"}))

    assert {row["user_id"] for row in own} == {"ann", "ben", "'=1+1"}


def test_focus_has_the_columns_that_the_standard_demands(alice, rows):
    focus = read_csv(alice.get(f"{USAGE}/entries", {**YEAR, "as": "focus"}))

    mandatory = {
        "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
        "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
        "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity",
        "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
    }  # fmt: skip
    assert mandatory <= focus[0].keys()
    assert {row["ChargeCategory"] for row in focus} <= {"Usage", "Credit", "Adjustment"}
    assert all(row["ChargePeriodStart"] < row["ChargePeriodEnd"] for row in focus)


def test_it_can_be_one_users(alice, rows):
    body = alice.get(USAGE, {**YEAR, "user_id": "ann"}).json()

    assert sums(body["totals"]) == expected([row for row in rows if row.user_label == "ann"])


def test_without_dates_it_is_this_month(alice, acme):
    UsageEntry.objects.create(tenant=acme, render_id=uuid.uuid4(), engine="draft", reserved_seconds=5, billed_seconds=5)

    body = alice.get(USAGE).json()

    assert body["start"] == datetime.now(UTC).strftime("%Y-%m-01")
    assert [group["month"] for group in body["data"]] == [datetime.now(UTC).strftime("%Y-%m")]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"group_by": "colour"}, "group_by"),
        ({"start": "2026-02-02", "end": "2026-02-02"}, "end"),
        ({"start": "2024-01-01", "end": "2026-01-01"}, "end"),
        ({"start": "yesterday"}, "start"),
    ],
)
def test_what_cannot_be_summed_up_is_refused(alice, query, param):
    refused = alice.get(USAGE, query)

    assert (refused.status_code, refused.json()["param"]) == (422, param)


@pytest.mark.parametrize("path", ["", "/entries", "/statements/2026-05"])
def test_the_scope_is_needed(alice, path):
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=["projects:read"])

    assert alice.get(f"{USAGE}{path}").status_code == 403


def test_a_test_key_sees_test_usage_only(acme, rows):
    caller = Caller(acme, "test")
    caller.credentials(HTTP_X_API_KEY=keys.issue(acme, name="test", mode=ApiKey.Mode.TEST)[1])

    assert [total["billed_seconds"] for total in caller.get(USAGE, YEAR).json()["totals"]] == [9]


def test_a_statement_can_be_read_by_programs_and_printed_for_people(alice, rows, acme):
    body = alice.get(f"{USAGE}/statements/2026-05").json()
    page = alice.get(f"{USAGE}/statements/2026-05", {"as": "html"})

    assert body["month"] == "2026-05"
    [total] = body["totals"]
    [of_usage] = reports.totals(
        quota.entries(acme, Period.month(datetime(2026, 5, 1, tzinfo=UTC).date()), is_test=False)
    )
    assert total["renders"] == sum(line["renders"] for line in body["lines"]) < of_usage["renders"]  # Some have failed.
    for name, of_line in {"billed_seconds": "seconds", "amount_micros": "amount_micros"}.items():
        assert total[name] == of_usage[name] == sum(row[of_line] for row in body["lines"] + body["adjustments"])
    assert total["held_seconds"] == of_usage["held_seconds"] > 0
    assert f"{total['billed_seconds']} s, of {total['renders']} renders and the corrections" in page.content.decode()
    total = Decimal(body["totals"][0]["amount_micros"]) / 1_000_000
    assert f"{total:,.2f}" in page.content.decode().replace(f"{total:,.6f}".rstrip("0"), f"{total:,.2f}")
    assert "May 2026" in page.content.decode()
    assert "A correction" in page.content.decode()


@pytest.fixture
def two_renders(acme, plan) -> list[UsageEntry]:
    """Of one engine and size in this month, one of them upscaled; 5 s each."""
    plan.prices = {**plan.prices, "upscale": {"1080p": 250}}
    plan.save()
    renders = {"api_key": None, "is_test": False, "engine": "instant", "resolution": "480p", "seconds": 5}
    holds = [quota.hold(acme, render_id=uuid.uuid4(), upscale=upscale, **renders) for upscale in ("none", "1080p")]
    for entry in holds:
        quota.settle(entry.render_id, seconds=5, gpu_seconds=0)
    return holds


def test_a_statement_has_a_line_for_each_price_of_a_size(alice, two_renders):
    month = f"{USAGE}/statements/{two_renders[0].created_at:%Y-%m}"
    body, page = alice.get(month).json(), alice.get(month, {"as": "html"}).content.decode()

    shown = ["engine", "resolution", "upscale", "price_micros", "renders", "seconds", "amount_micros"]
    assert [[line[name] for name in shown] for line in body["lines"]] == [
        ["instant", "480p", "1080p", 1250, 1, 5, 6250],
        ["instant", "480p", "none", 1000, 1, 5, 5000],
    ]
    assert body["totals"][0]["amount_micros"] == 11_250
    assert "<td>480p, upscaled to 1080p</td>" in page and "<td>480p</td>" in page


def test_upscaling_free_of_charge_has_a_line_of_its_own(alice, two_renders):
    UsageEntry.objects.update(price_micros=1000, amount_micros=5000)

    body = alice.get(f"{USAGE}/statements/{two_renders[0].created_at:%Y-%m}").json()

    assert [line["upscale"] for line in body["lines"]] == ["1080p", "none"]


def test_rows_and_files_say_what_was_upscaled(alice, two_renders):
    entries = alice.get(f"{USAGE}/entries").json()["data"]
    own = read_csv(alice.get(f"{USAGE}/entries", {"as": "csv"}))
    focus = read_csv(alice.get(f"{USAGE}/entries", {"as": "focus"}))

    prices_by_upscale = {"none": 1000, "1080p": 1250}
    assert {entry["upscale"]: entry["price_micros"] for entry in entries} == prices_by_upscale
    assert {row["upscale"]: int(row["price_micros"]) for row in own} == prices_by_upscale
    assert {(row["SkuId"], row["ChargeDescription"], row["ListUnitPrice"]) for row in focus} == {
        ("instant-480p", "instant 480p, seconds of video", "0.001"),
        ("instant-480p-upscale-1080p", "instant 480p upscale 1080p, seconds of video", "0.00125"),
    }


@pytest.mark.parametrize("month", ["2026-13", "2026-00", "26-1", "x"])
def test_there_is_no_such_month(alice, month):
    assert alice.get(f"{USAGE}/statements/{month}").status_code == 404


def test_a_month_that_has_not_begun_has_no_statement(alice):
    today = datetime.now(UTC).date()
    later = next_month(today.replace(day=1))

    assert alice.get(f"{USAGE}/statements/{today:%Y-%m}").status_code == 200
    assert alice.get(f"{USAGE}/statements/{later:%Y-%m}").status_code == 404


def test_a_price_that_changes_later_changes_no_bill(alice, acme, plan):
    UsageEntry.objects.create(
        tenant=acme, render_id=uuid.uuid4(), engine="draft", resolution="480p", reserved_seconds=5, billed_seconds=5,
        price_micros=1000, amount_micros=5000,
    )  # fmt: skip
    plan.prices = full_prices(draft={"480p": 9999})
    plan.save()

    assert prices.per_second(Tenant.objects.get(pk=acme.pk).plan, engine="draft", resolution="480p") == 9999
    assert alice.get(USAGE).json()["totals"][0]["amount_micros"] == 5000
    assert UsageEntry.objects.aggregate(total=Sum("amount_micros"))["total"] == 5000
