"""Locust's users. Each kind sends so many requests a second in all as its RATE_ variable says."""

import itertools
import json
import os
import random

import gevent
from locust import task
from locust.contrib.fasthttp import FastHttpUser

KEYS = os.environ["LOAD_KEYS"].split()  # one of each tenant
PROJECTS = os.environ["LOAD_PROJECTS"].split()  # KEY:ID
BODY = json.loads(os.environ["LOAD_BODY"])
numbers = itertools.count()
EACH = float(os.environ["EACH"])  # requests a second of one user


def users(kind: str) -> int:
    return round(float(os.environ.get(f"RATE_{kind}", "0")) / EACH)


class Caller(FastHttpUser):
    abstract = True
    host = os.environ["LOAD_URL"]
    network_timeout = connection_timeout = 30.0

    def on_start(self) -> None:
        self.headers = {"X-API-Key": KEYS[next(numbers) % len(KEYS)]}
        gevent.sleep(self.wait_time())

    def wait_time(self) -> float:
        """At random, as strangers come: what has a fixed pace from the start on comes all at once."""
        return random.expovariate(EACH)


class Status(Caller):
    """Polls projects, as clients do while they wait."""

    fixed_count = users("status")

    @task
    def ask(self) -> None:
        key, project = random.choice(PROJECTS).split(":")
        self.client.get(f"/api/v1/projects/{project}/status", headers={"X-API-Key": key}, name="status")


class Create(Caller):
    fixed_count = users("create")

    @task
    def ask(self) -> None:
        self.client.post("/api/v1/projects", json=BODY, headers=self.headers, name="create")


class List(Caller):
    fixed_count = users("list")

    @task
    def ask(self) -> None:
        self.client.get("/api/v1/projects?limit=20", headers=self.headers, name="list")


class BareGet(Caller):
    fixed_count = users("bare_get")

    @task
    def ask(self) -> None:
        self.client.get("/bare", name="bare GET")


class BarePost(Caller):
    fixed_count = users("bare_post")

    @task
    def ask(self) -> None:
        self.client.post("/bare", json=BODY, name="bare POST")
