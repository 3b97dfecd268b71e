"""A plain API key is nowhere but in the answer that shows it: not in a table, a log or a stored file."""

from pathlib import Path

import httpx
from django.db import connection

from accounts.models import ApiKey, Scope
from tests.service.conftest import ended


def everything_in_the_database() -> str:
    """All rows of all tables, as text: what a dump would hold."""
    rows = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            rows += [row for (row,) in cursor.fetchall()]
    return "\n".join(rows)


def test_no_table_log_or_file_holds_a_plain_key(service, client, alice, post, wait_for, service_folder: Path) -> None:
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=list(Scope))
    keys = []
    for number in range(2):
        answer = client.post("/keys", json={"name": "x"}, headers={"Idempotency-Key": f"key-{number}"})
        keys.append(answer.json())
    rotated = client.post(f"/keys/{keys[0]['id']}/rotate", json={}, headers={"Idempotency-Key": "rotate"}).json()
    plain = [alice.plain_key, *(key["key"] for key in (*keys, rotated))]
    # Each is used, in both headers, well and badly.
    for key in plain:
        httpx.get(f"{service.base_url}/api/v1/projects", headers={"X-API-Key": key}).raise_for_status()
        httpx.get(f"{service.base_url}/api/v1/projects", headers={"Authorization": f"Bearer {key}"}).raise_for_status()
        httpx.post(f"{service.base_url}/api/v1/projects", headers={"X-API-Key": key}, content=b"{")
        httpx.get(f"{service.base_url}/api/v1/projects", headers={"X-API-Key": f"{key}x"})
    wait_for(post("instant"), ended)
    for key in keys:
        client.delete(f"/keys/{key['id']}")

    secrets = [key.split("_")[3] for key in plain]
    assert all(len(secret) == 32 for secret in secrets)
    held = everything_in_the_database()
    assert keys[0]["prefix"] in held
    logs = "".join(log.read_text() for log in (service_folder / "logs").glob("*.log"))
    assert "/api/v1/projects" in logs  # The log of each request was on.
    files = b"".join(path.read_bytes() for path in (service_folder / "media").rglob("*") if path.is_file())
    assert files
    for secret in secrets:
        assert secret not in held
        assert secret not in logs
        assert secret.encode() not in files
