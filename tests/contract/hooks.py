"""Half of the requests are about things that are there, and what was answered is counted."""

import atexit
import json
import os
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import schemathesis

FILE = b"bytes"
MOST_ENDPOINTS = 5  # A tenant may have some more.

chance = random.Random(1)
service = httpx.Client(
    base_url=f"{os.environ['CONTRACT_URL']}/api/v1", headers={"X-API-Key": os.environ["CONTRACT_KEY"]}, timeout=60
)
BODY = {**json.loads(os.environ["CONTRACT_BODY"]), "title": "Contract"}


def _post(path: str, **body: Any) -> dict[str, Any]:
    answer = service.post(path, json=body).raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _upload() -> dict[str, Any]:
    return _post("/uploads", filename="me.png", content_type="image/png", bytes=len(FILE))


def _sent_upload() -> str:
    upload = _upload()
    httpx.put(upload["url"], content=FILE, headers=upload["headers"]).raise_for_status()
    return str(upload["upload_id"])


def _endpoint() -> str:
    there = service.get("/webhook-endpoints").json()["data"]
    if len(there) < MOST_ENDPOINTS:
        there = [_post("/webhook-endpoints", url="https://example.com/hook")]
    return str(there[0]["id"])


def _finished() -> str:
    project = str(_post("/projects", **BODY)["id"])
    while service.get(f"/projects/{project}/status").json()["state"] in ("queued", "running"):
        time.sleep(0.5)
    return project


def _goes_on(project: str) -> bool:
    answer = service.get(f"/projects/{quote(str(project), safe='')}/status")
    return answer.status_code == 200 and answer.json()["state"] in ("queued", "running")


def _preview() -> str:
    """Of the first project of all, which has its film."""
    return str(service.get("/projects", params={"q": "First"}).json()[0]["preview_url"]).split("/")[-2]


# Collection or action -> makes something new for it, and tells what its path takes.
MAKE: dict[str, Callable[[], str]] = {
    "projects": lambda: _post("/projects", **BODY)["id"],
    "finalize": _finished,
    "events": _finished,
    "uploads": _sent_upload,
    "assets": lambda: _upload()["upload_id"],
    "avatars": lambda: _post("/avatars", name="Me", image_url=os.environ["CONTRACT_ASSET"])["id"],
    "keys": lambda: _post("/keys", name="another")["id"],
    "webhook-endpoints": _endpoint,
    "webhook-deliveries": lambda: _post(f"/webhook-endpoints/{_endpoint()}/test")["id"],
    "previews": _preview,
    "usage": lambda: "2026-11",
}
# What no generator can guess of a new one.
FIELDS = {
    "projects": {"image_url": BODY["image_url"], "audio_url": BODY["audio_url"]},
    "avatars": {"image_url": os.environ["CONTRACT_ASSET"]},
    "webhook-endpoints": {"url": "https://example.com/hook"},
}
made: dict[str, str] = {}
answers: defaultdict[str, Counter[int]] = defaultdict(Counter)  # operation -> statuses
atexit.register(lambda: Path(os.environ["CONTRACT_ANSWERS"]).write_text(json.dumps(answers)))


@schemathesis.hook
def before_call(context, case, kwargs):  # type: ignore[no-untyped-def]
    parameters = case.path_parameters or {}
    collection = case.path.split("/")[3]
    if not parameters:
        if case.method == "POST" and isinstance(case.body, dict) and chance.random() < 0.5:
            case.body |= FIELDS.get(collection, {})
        return
    [name] = parameters
    if chance.random() < 0.5:
        if name == "token":
            parameters[name], case.body = _upload()["url"].split("/")[-2], FILE
            return
        thing = case.path.split("/")[-1]
        if thing not in MAKE:
            thing = collection
        if thing not in made or case.method == "DELETE" or chance.random() < 0.1:
            made[thing] = MAKE[thing]()
        parameters[name] = made[thing]
    if case.path.endswith("/events") and _goes_on(parameters[name]):
        # Its stream would last until the request times out: there is no GPU here to end what was finalized.
        parameters[name] = made["events"] = _finished()
    if collection == "keys" and parameters[name] == os.environ["CONTRACT_KEY_ID"]:
        parameters[name] = str(uuid.uuid4())  # Without it, every further answer would be 401.


@schemathesis.hook
def after_call(context, case, response):  # type: ignore[no-untyped-def]
    if case.method == case.operation.method.upper():  # It asks other methods, too, to see them refused.
        answers[case.operation.label][response.status_code] += 1
