"""F1: hundreds of renders while everything that can die dies. Nothing may be lost, doubled or stuck."""

import logging
import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
from django.db import Error, connection

from projects.models import Project
from render.models import Render, State
from tests.chaos import faults
from tests.chaos.stage import Stage
from tests.chaos.watcher import Watcher
from tests.servers.webhook_receiver import Receiver, receiving

logger = logging.getLogger(__name__)

TENANTS = {"Ash": 2, "Beech": 64, "Cedar": 64}  # name -> how many renders at once its plan allows
CANCELS = 15
REPEATS = 20
FAULT_PAUSE = (1.0, 3.5)  # seconds between two faults
SUBMITTING_SECONDS = 80.0
END_SECONDS = 240.0  # in which all must have ended, after which something is lost or stuck
TOLD_SECONDS = 150.0  # A delivery whose sender was killed is due again after a minute.
# While the database, a worker or an earlier request with the same key is in the way, the same request is made again.
TRY_AGAIN = (409, 500, 502, 503)
WRONG_ANSWERS = (500, "reset", 302, "silent")


class MoodyReceiver(Receiver):
    """Does not take every fourth message at its first try, each time for another reason."""

    def __init__(self) -> None:
        super().__init__()
        self.tries: Counter[str] = Counter()

    def answer(self, message_id: str) -> object:
        self.tries[message_id] += 1
        number = int(message_id[-6:], 16)
        return WRONG_ANSWERS[number // 4 % 4] if self.tries[message_id] == 1 and number % 4 == 0 else 204


@dataclass
class Story:
    """What happened, for the verdict."""

    seed: int
    projects: dict[str, set[str]] = field(default_factory=dict)  # idempotency key -> ids that were answered
    canceled: set[str] = field(default_factory=set)  # projects whose cancel was accepted
    answers: Counter[int] = field(default_factory=Counter)  # statuses of all requests
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)  # seen while it ran
    receiver: MoodyReceiver = field(default_factory=MoodyReceiver)
    seconds: float = 0.0
    ended: bool = False
    all_told: bool = False


def play(stage: Stage, *, seed: int, renders: int) -> Story:
    chance, story = random.Random(seed), Story(seed)
    for name, max_concurrent in TENANTS.items():
        stage.tenant(name, max_concurrent=max_concurrent)
    with receiving(story.receiver), Watcher(stage.database) as watcher:
        _ask_to_be_told(stage, story)
        started = time.monotonic()
        keys = [f"{seed}-{number}" for number in range(renders)]
        twice = set(chance.sample(keys, min(REPEATS, renders)))
        with ThreadPoolExecutor(len(TENANTS) * 2 + 1) as pool:
            done: list[Future[None]] = []
            for index, tenant in enumerate(TENANTS):
                own = keys[index :: len(TENANTS)]
                pause = SUBMITTING_SECONDS / len(own)
                done += [pool.submit(_submit_all, stage, story, tenant, own, pause)]
                # Their second copies go out at the same moments.
                done += [pool.submit(_submit_all, stage, story, tenant, own, pause, only=twice)]
            done += [pool.submit(_cancel_some, stage, story, random.Random(seed + 1))]
            _commit_faults(stage, story, chance)
            for future in done:
                future.result()
        story.ended = _wait(_all_ended, started + END_SECONDS)
        story.seconds = time.monotonic() - started
        story.all_told = _wait(lambda: _all_told(story), time.monotonic() + TOLD_SECONDS)
    story.violations += watcher.violations
    return story


def _ask_to_be_told(stage: Stage, story: Story) -> None:
    for client in stage.clients.values():
        answer = client.post("/webhook-endpoints", json={"url": story.receiver.url})
        assert answer.status_code == 201, answer.text
        story.receiver.secrets.append(answer.json()["secret"])


def _submit_all(
    stage: Stage, story: Story, tenant: str, keys: list[str], pause: float, only: set[str] | None = None
) -> None:
    begin = time.monotonic()
    for number, key in enumerate(keys):
        time.sleep(max(0.0, begin + number * pause - time.monotonic()))
        if only is None or key in only:
            body = {**stage.body(), "title": key}
            answer = _request(stage, story, tenant, "/projects", json=body, headers={"Idempotency-Key": key})
            assert answer.status_code == 201, answer.text
            story.projects.setdefault(key, set()).add(answer.json()["id"])


def _cancel_some(stage: Stage, story: Story, chance: random.Random) -> None:
    for _ in range(CANCELS):
        time.sleep(SUBMITTING_SECONDS / CANCELS * chance.uniform(0.5, 1.5))
        known = [project for ids in list(story.projects.values()) for project in ids]
        project = chance.choice(known[-20:] or [""])  # The latest are still at work.
        for tenant in TENANTS if project else ():
            # Others' projects are not there for a tenant: 404. One that has ended cannot be canceled: 409.
            answer = _request(stage, story, tenant, f"/projects/{project}/cancel", again=(500, 502, 503))
            if answer.status_code in (200, 202):
                story.canceled.add(project)


def _request(
    stage: Stage, story: Story, tenant: str, path: str, *, again: tuple[int, ...] = TRY_AGAIN, **named: object
) -> httpx.Response:
    """As a careful client does it."""
    while True:
        try:
            answer = stage.clients[tenant].post(path, **named)  # type: ignore[arg-type]
            story.answers[answer.status_code] += 1
            if answer.status_code not in again:
                return answer
        except httpx.HTTPError:
            story.answers[0] += 1
        time.sleep(0.3)


def _commit_faults(stage: Stage, story: Story, chance: random.Random) -> None:
    for kind in faults.in_some_order(chance):
        time.sleep(chance.uniform(*FAULT_PAUSE))
        while True:
            try:
                faults.commit(kind, stage, chance)
                break
            except Error:  # It is still away.
                connection.close()
                time.sleep(0.2)
        story.faults[kind] += 1


def _wait(condition, deadline: float) -> bool:  # type: ignore[no-untyped-def]
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except Error:
            connection.close()
        time.sleep(0.2)
    return False


def _all_ended() -> bool:
    return not Render.objects.filter(state__in=[State.QUEUED, State.RUNNING]).exists()


def _all_told(story: Story) -> bool:
    return {body["data"]["id"] for _, body in list(story.receiver.got)} >= {
        str(pk) for pk in Project.objects.values_list("pk", flat=True)
    }
