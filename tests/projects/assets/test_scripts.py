"""A script instead of a voice: spoken when the render is prepared, kept as an asset, billed by its length."""

import wave
from functools import cache
from math import ceil
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db.models.functions import Now

from accounts.models import UsageEntry
from projects.models import Asset
from projects.retention import policy as retention
from projects.tasks import delete_media
from render.models import Render, State
from render.pipeline import runner
from render.speech import hibari_engine, registry
from render.speech.base import SpeechUnavailable
from tests.projects.steps import NEW, PROJECTS, claim

pytestmark = pytest.mark.django_db

TEXT = "Hello, and welcome."
SPOKEN = cache(hibari_engine._speak)  # The model says the same each time, and takes most of a test's time for it.
ASKED = {"title": "Spoken", "script": TEXT, "parameters": {"engine": "instant", "seed": 1}}


@pytest.fixture(autouse=True)
def _sources(site, settings, monkeypatch) -> None:
    settings.ALLOW_PRIVATE_MEDIA_URLS = True
    monkeypatch.setattr(hibari_engine, "_speak", SPOKEN)


@pytest.fixture
def ask(alice, site):
    def post(**changes):
        return alice.post(PROJECTS, {**ASKED, "image_url": f"{site[0]}/picture.png", **changes}, format="json")

    return post


def test_a_script_becomes_a_voice_and_a_film(alice, ask):
    created = ask()
    project = created.json()
    assert (created.status_code, project["script"], project["voice"], project["language"]) == (201, TEXT, "heart", "en")
    assert project["audio_url"] is None

    runner.run(claim())

    shown = alice.get(f"{PROJECTS}/{project['id']}").json()
    render = Render.objects.get()
    assert (render.state, render.error_trace) == (State.FINISHED, "")
    asset = Asset.objects.get()
    assert shown["audio_url"] == f"asset:{asset.pk}"
    assert (asset.origin, asset.state, asset.kind) == ("speech", "ready", "audio")
    with default_storage.open(asset.key) as file, wave.open(file) as speech:
        seconds = speech.getnframes() / speech.getframerate()
    assert asset.facts["duration_seconds"] == pytest.approx(seconds, abs=0.01)
    assert shown["duration_seconds"] == pytest.approx(seconds, abs=0.04)
    assert UsageEntry.objects.get().billed_seconds == ceil(render.num_frames / 25)
    listed = alice.get("/api/v1/assets").json()["data"]
    assert [(entry["origin"], entry["filename"]) for entry in listed] == [("speech", "Spoken.wav")]


def test_the_same_script_is_kept_once_and_a_final_uses_what_was_spoken(alice, ask, monkeypatch):
    first = ask().json()
    runner.run(claim())
    ask()
    runner.run(claim())
    assert Asset.objects.count() == 1

    monkeypatch.setattr(registry, "_engines", lambda: pytest.fail("it must not be spoken again"))
    alice.post(first["urls"]["finalize"])
    final = Render.objects.latest("created_at")
    assert final.audio_url.startswith("stored:") and final.script is None


def test_a_final_after_its_speech_was_deleted_speaks_again(alice, ask):
    project = ask().json()
    runner.run(claim())
    assert alice.delete(f"/api/v1/assets/{Asset.objects.get().pk}").status_code == 200

    alice.post(project["urls"]["finalize"])

    final = Render.objects.latest("created_at")
    assert (final.audio_url, final.script["text"]) == ("", TEXT)


def test_what_was_spoken_again_is_kept_again(alice, ask):
    project = ask().json()
    runner.run(claim())
    alice.delete(f"/api/v1/assets/{Asset.objects.get().pk}")
    alice.post(project["urls"]["finalize"])
    runner.run(claim())

    asset = Asset.objects.get(deleted_at=None)
    assert alice.get(project["urls"]["self"]).json()["audio_url"] == f"asset:{asset.pk}"
    assert default_storage.exists(asset.key)


@pytest.mark.parametrize("end", ["deleted", "kept for a while"])
def test_what_was_spoken_for_a_render_that_then_failed_is_deleted(
    alice, ask, site, end, django_capture_on_commit_callbacks
):
    (site[1] / "broken.png").write_bytes(b"no picture")
    project = ask(image_url=f"{site[0]}/broken.png").json()
    runner.run(claim())
    render = Render.objects.get()
    assert (render.state, render.error_code, Asset.objects.count()) == (State.FAILED, "image_invalid", 0)
    assert len(spoken_files(alice)) == 1

    with django_capture_on_commit_callbacks(execute=True):
        if end == "deleted":
            alice.delete(project["urls"]["self"])
            delete_media()
        else:
            Render.objects.update(completed_at=Now() - retention.WORK)
            retention.run()
    assert spoken_files(alice) == []


def test_a_neighbour_with_the_same_script_keeps_what_was_spoken(alice, ask, django_capture_on_commit_callbacks):
    first = ask().json()
    runner.run(claim())
    second = ask().json()
    runner.run(claim())
    for project, left in ((first, 1), (second, 0)):
        with django_capture_on_commit_callbacks(execute=True):
            alice.delete(project["urls"]["self"])
            delete_media()
        asset = Asset.objects.get()
        assert (asset.deleted_at is None, default_storage.exists(asset.key)) == (left == 1, left == 1)
    assert spoken_files(alice) == []


def spoken_files(caller) -> list:
    """Of the caller's tenant, in the storage."""
    return [path for path in Path(default_storage.path(f"{caller.tenant.pk}/speech")).rglob("*") if path.is_file()]


def test_two_people_one_of_whom_reads_a_script(alice, ask, site):
    project = ask(audio_url_2=f"{site[0]}/other-voice.wav").json()

    runner.run(claim())

    shown = alice.get(f"{PROJECTS}/{project['id']}").json()
    assert (shown["type"], shown["status"]) == ("multi_person", "finished")
    assert shown["duration_seconds"] == pytest.approx(Asset.objects.get().facts["duration_seconds"] + 2, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"script": "Привет"}, "script_unspeakable", "script"),
        ({"script": "..."}, "script_unspeakable", "script"),
        ({"script": "<speak><prosody rate='slow'>Hi</prosody></speak>"}, "script_unspeakable", "script"),
        ({"script": "<speak>Hi"}, "script_unspeakable", "script"),
        ({"script": "x" * 50_001}, "invalid", "script"),
        ({"script": ""}, "invalid", "audio_url"),
        ({"script": " \n\t\u00a0"}, "invalid", "audio_url"),
        ({"script": None}, "invalid", "audio_url"),
        ({"audio_url": "https://example.com/voice.mp3"}, "invalid", "script"),
        ({"voice": "nobody"}, "invalid", "voice"),
        ({"language": "id"}, "invalid", "language"),
        ({"language": "english please"}, "invalid", "language"),
    ],
)
def test_what_cannot_be_spoken_is_refused_at_once(ask, changes, code, param):
    refused = ask(**changes)

    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (422, code, param)
    assert not UsageEntry.objects.exists()


def test_what_the_voice_leaves_out_is_a_warning_and_the_script_is_shown_as_given(alice, ask):
    text = "<speak>It is 5 \u00b5m thin, and that is all there is to say of it. \U0001f44d</speak>"

    project = ask(script=text).json()

    assert project["script"] == alice.get(project["urls"]["self"]).json()["script"] == text
    [warning] = project["warnings"]
    assert (warning["param"], warning["code"]) == ("script", "characters_skipped")
    assert warning["detail"].endswith("are left out: \U0001f44d")


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ('Hello <break time="1s"/> there', ["tags_read_aloud"]),
        ("< speak>Hello</speak>", ["tags_read_aloud"]),
        ("<speak>Hello</speak>", []),
        ("I <3 you, a < b > c, <speaker> hello, <b>bold</b>", []),
    ],
)
def test_tags_without_ssml_are_a_warning(ask, text, codes):
    assert [warning["code"] for warning in ask(script=text).json()["warnings"]] == codes


def test_a_script_longer_than_the_plan_allows_fails_and_costs_nothing(ask, plan):
    plan.max_audio_seconds = 1
    plan.save()
    ask()

    runner.run(claim())

    render = Render.objects.get()
    assert (render.state, render.error_code, render.error_param) == (State.FAILED, "audio_too_long", "script")
    assert UsageEntry.objects.get().billed_seconds == 0


def test_a_speech_engine_that_is_away_is_tried_again(ask, monkeypatch, settings):
    settings.RENDER_RETRY_DELAYS = [0]
    ask()

    def away(*arguments, **named):
        raise SpeechUnavailable("HTTP 503")

    with monkeypatch.context() as patch:
        patch.setattr("render.pipeline.preparation.speak", away)
        runner.run(claim())
    assert Render.objects.get().state == State.QUEUED
    runner.run(claim())
    assert Render.objects.get().state == State.FINISHED

    ask()
    with monkeypatch.context() as patch:
        patch.setattr("render.pipeline.preparation.speak", away)
        for _ in range(settings.RENDER_MAX_FAILURES):
            runner.run(claim())
    render = Render.objects.latest("created_at")
    assert (render.state, render.error_code) == (State.FAILED, "speech_failed")


def test_the_voices_are_listed(alice):
    assert alice.get("/api/v1/voices").json() == {"data": [{"id": "heart", "name": "Heart", "language": "en"}]}


def test_what_a_voice_s_own_fields_mean_nothing_without_a_script(alice):
    created = alice.post(PROJECTS, {**NEW, "voice": "heart", "language": "en"}, format="json")

    assert (created.status_code, created.json()["voice"]) == (201, None)
