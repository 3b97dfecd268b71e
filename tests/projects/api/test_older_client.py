"""The older service's published client, line by line, against a real server."""

import time

import pytest
import requests

from render.storage import media
from tests.projects.steps import claim, finish


@pytest.mark.django_db(transaction=True)
def test_the_published_example_still_runs(live_server, alice):
    headers = {"X-API-Key": alice.plain_key, "Content-Type": "application/json"}
    project_data = {
        "title": "Test Avatar",
        "image_url": "https://example.com/face.jpg",
        "audio_url": "https://example.com/speech.mp3",
        "prompt": "A person is talking about AI",
        "parameters": {"sample_steps": 8, "seed": 42},
    }

    response = requests.post(f"{live_server}/api/v1/projects", headers=headers, json=project_data, timeout=10)
    project_id = response.json()["id"]

    seen = []
    while True:
        response = requests.get(f"{live_server}/api/v1/projects/{project_id}/status", headers=headers, timeout=10)
        status = response.json()
        seen.append(f"Status: {status['status']} - Progress: {status['progress']}%")
        if status["status"] == "finished":
            break
        assert status["error_message"] is None
        finish(claim())  # what a worker does meanwhile
        time.sleep(0.01)

    assert seen == ["Status: queued - Progress: 0%", "Status: finished - Progress: 100%"]
    assert status["video_url"] == f"{live_server}{media.link('renders/film.mp4')}"


@pytest.mark.django_db(transaction=True)
def test_no_address_redirects(live_server, alice):
    for path in ("projects", "projects/"):
        response = requests.post(
            f"{live_server}/api/v1/{path}",
            headers={"X-API-Key": alice.plain_key},
            json={"title": "x", "image_url": "https://a.example/a.png", "audio_url": "https://a.example/a.mp3"},
            allow_redirects=False,
            timeout=10,
        )
        assert response.status_code == 201
