import json

import pytest
from django_q.models import OrmQ

from accounts.models import UsageEntry
from projects.models import Project
from render.models import Render
from tests.projects.steps import NEW, PROJECTS, create, latest_render

GIVEN_KEYS = {
    "id", "user_id", "title", "description", "image_url", "audio_url", "audio_url_2", "audio_order", "type",
    "prompt", "call_id", "status", "progress", "video_url", "error_message", "created_at", "updated_at", "parameters",
}  # fmt: skip
ADDED_KEYS = {
    "test",
    "state", "phase", "queue_position", "waiting_reason", "eta_seconds", "segment", "segments_total", "engine", "error",
    "error_code", "poster_url", "thumbnail_url", "duration_seconds", "video_expires_at", "warnings", "metadata", "urls",
    "takes", "takes_total", "poll_after_seconds",
    "preview_url", "script", "voice", "language", "webhook_url", "start_deadline_seconds", "total_deadline_seconds",
    "width", "height", "crop", "speakers", "video_alpha_url",
}  # fmt: skip


def test_it_answers_the_queued_project_with_every_given_key(alice):
    response = alice.post(PROJECTS, NEW, format="json")

    project = response.json()
    assert response.status_code == 201
    assert response["Location"] == f"http://testserver/api/v1/projects/{project['id']}" == project["urls"]["self"]
    assert project.keys() == GIVEN_KEYS | ADDED_KEYS
    assert (project["status"], project["state"], project["progress"]) == ("queued", "queued", 0)
    assert (project["user_id"], project["type"], project["audio_order"]) == ("anonymous", "single_person", "left_right")
    assert project["video_url"] is project["error_message"] is project["error"] is project["prompt"] is None
    assert project["call_id"] == str(latest_render(project["id"]).pk)
    assert project["created_at"].endswith("Z")


def test_it_takes_the_older_services_request_as_documented(alice):
    response = alice.post(
        f"{PROJECTS}/",
        {
            **NEW,
            "description": "Test video generation",
            "prompt": "A person is talking",
            "user_id": "",
            "audio_url_2": "",
            "audio_order": None,
            "parameters": {
                "sample_steps": 8,
                "sample_shift": 3,
                "sample_text_guide_scale": 1.0,
                "sample_audio_guide_scale": 6.0,
                "lora_scale": 1.0,
                "color_correction_strength": 0.2,
                "seed": 42,
                "frame_num": None,
            },
        },
        format="json",
    )

    assert response.status_code == 201
    assert response.json()["parameters"]["seed"] == 42
    assert (response.json()["user_id"], response.json()["audio_url_2"]) == ("anonymous", None)
    assert response.json()["warnings"] == []
    assert latest_render(response.json()["id"]).parameters["sample_shift"] == 3.0


def test_it_answers_200_to_a_key_of_an_older_client(alice):
    alice.key.legacy_200 = True
    alice.key.save(update_fields=["legacy_200"])

    assert alice.post(PROJECTS, NEW, format="json").status_code == 200


def test_it_stores_the_render_the_hold_and_the_ticket(alice):
    project = create(alice, audio_url_2="https://example.com/b.mp3", audio_order="meanwhile", prompt="Hello")

    render = latest_render(project["id"])
    assert (render.audio_url_2, render.audio_order, render.prompt) == (
        "https://example.com/b.mp3",
        "meanwhile",
        "Hello",
    )
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds is None
    assert OrmQ.objects.filter(key="cpu").count() == 1
    assert project["type"] == "multi_person"


def test_it_honours_seed_zero_and_echoes_a_drawn_one(alice):
    assert create(alice, parameters={"seed": 0})["parameters"] == {"seed": 0}

    project = create(alice, parameters={"seed": None, "sample_steps": 9})
    drawn = project["parameters"]["seed"]
    assert 0 <= drawn < 2**32
    assert latest_render(project["id"]).parameters["seed"] == drawn
    assert project["parameters"] == {"seed": drawn, "sample_steps": 9}


def test_it_takes_the_presets_values_unless_given_explicitly(alice):
    project = create(alice, parameters={"preset": "quality", "sample_steps": 20})

    parameters = latest_render(project["id"]).parameters
    assert (parameters["sample_steps"], parameters["sample_audio_guide_scale"]) == (20, 4.0)


def test_it_warns_of_unknown_fields(alice):
    project = create(alice, webhook="x", parameters={"tea_cache": True})

    assert project["warnings"] == [
        {"param": "webhook", "code": "unknown", "detail": "There is no field webhook; it was not used."},
        {
            "param": "parameters.tea_cache",
            "code": "unknown",
            "detail": "There is no field parameters.tea_cache; it was not used.",
        },
    ]
    assert "tea_cache" not in project["parameters"]


def test_it_echoes_metadata(alice):
    assert create(alice, metadata={"order": "A-1"})["metadata"] == {"order": "A-1"}


@pytest.mark.parametrize("value", [8, "8", 8.0])
def test_it_takes_numbers_as_the_older_service_did(alice, value):
    assert create(alice, parameters={"sample_steps": value})["parameters"]["sample_steps"] == 8


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"title": None}, "title", "null"),
        ({"title": ""}, "title", "blank"),
        ({"title": "  "}, "title", "blank"),
        ({"title": "x" * 201}, "title", "max_length"),
        ({"title": "nul\0"}, "title", "null_characters_not_allowed"),
        ({"title": "half \ud800"}, "title", "surrogate_characters_not_allowed"),
        ({"title": ["x"]}, "title", "invalid"),
        ({"image_url": "ftp://example.com/a.png"}, "image_url", "url_not_allowed"),
        ({"image_url": "file:///etc/passwd"}, "image_url", "url_not_allowed"),
        ({"image_url": "/etc/passwd"}, "image_url", "url_not_allowed"),
        ({"image_url": "https://user:word@example.com/a.png"}, "image_url", "url_not_allowed"),
        ({"image_url": "https://example.com/" + "a" * 4096}, "image_url", "max_length"),
        ({"image_url": "https://exa mple.com/"}, "image_url", "invalid"),
        ({"image_url": "https://[::1/a.png"}, "image_url", "invalid"),
        ({"image_url": "https://example.com:99999/"}, "image_url", "invalid"),
        ({"image_url": "https:///a.png"}, "image_url", "invalid"),
        ({"audio_url": "nonsense"}, "audio_url", "url_not_allowed"),
        ({"audio_url_2": "nonsense"}, "audio_url_2", "url_not_allowed"),
        ({"audio_order": "middle"}, "audio_order", "invalid_choice"),
        ({"prompt": "x" * 2001}, "prompt", "max_length"),
        ({"user_id": "x" * 201}, "user_id", "max_length"),
        ({"metadata": []}, "metadata", "not_a_dict"),
        ({"metadata": {"a": {}}}, "metadata.a", "invalid"),
        ({"metadata": {str(n): "x" for n in range(21)}}, "metadata", "max_length"),
        ({"metadata": dict.fromkeys(map(str, range(1000)))}, "metadata", "max_length"),
        ({"metadata": {"\0": "x"}}, "metadata", "invalid"),
        ({"metadata": {"a": "\0"}}, "metadata.a", "null_characters_not_allowed"),
        ({"parameters": []}, "parameters", "invalid"),
        ({"parameters": {"\0": 1}}, None, "invalid"),
        ({"\ud800": 1}, None, "invalid"),
        ({"parameters": {"sample_steps": 0}}, "parameters.sample_steps", "min_value"),
        ({"parameters": {"sample_steps": 51}}, "parameters.sample_steps", "max_value"),
        ({"parameters": {"sample_steps": 8.5}}, "parameters.sample_steps", "invalid"),
        ({"parameters": {"sample_shift": 0}}, "parameters.sample_shift", "min_value"),
        ({"parameters": {"sample_shift": "nan"}}, "parameters.sample_shift", "invalid"),
        ({"parameters": {"sample_text_guide_scale": -1}}, "parameters.sample_text_guide_scale", "min_value"),
        ({"parameters": {"sample_audio_guide_scale": -1}}, "parameters.sample_audio_guide_scale", "min_value"),
        ({"parameters": {"lora_scale": 2.1}}, "parameters.lora_scale", "max_value"),
        ({"parameters": {"color_correction_strength": 1.1}}, "parameters.color_correction_strength", "max_value"),
        ({"parameters": {"seed": -1}}, "parameters.seed", "min_value"),
        ({"parameters": {"seed": 2**32}}, "parameters.seed", "max_value"),
        ({"parameters": {"frame_num": 80}}, "parameters.frame_num", "invalid"),
        ({"parameters": {"frame_num": 0}}, "parameters.frame_num", "min_value"),
        ({"parameters": {"frame_num": 10**30 + 1}}, "parameters.frame_num", "max_value"),
        ({"parameters": {"resolution": "4k"}}, "parameters.resolution", "invalid_choice"),
        ({"parameters": {"preset": "best"}}, "parameters.preset", "invalid_choice"),
    ],
)
def test_it_names_the_field_that_is_wrong(alice, change, param, code):
    # json.dumps escapes everything, so that half surrogates get to the server at all.
    response = alice.post(PROJECTS, json.dumps({**NEW, **change}), content_type="application/json")

    assert response.status_code == 422
    assert response.json()["errors"][0] | {"detail": ""} == {"param": param, "code": code, "detail": ""}
    assert response.json()["param"] == param
    assert not Project.objects.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_url": "asset:nope"}, ["https://", "asset:ID", "avatar:ID"]),
        ({"audio_url": "me.wav"}, ["https://", "asset:ID"]),
        ({"audio_url": None}, ["audio_url", "script"]),
        ({"audio_url": "", "script": "  "}, ["audio_url", "script"]),
        ({"audio_url": None, "script": "Hello", "language": "english please"}, ["pt-BR"]),
        ({"parameters": {"resolution": "4k" * 1000}}, ["480p, 720p", "4k"]),
    ],
)
def test_it_says_what_would_be_right(alice, change, words):
    refused = alice.post(PROJECTS, {**NEW, **change}, format="json")

    assert refused.status_code == 422
    assert [word for word in words if word not in refused.json()["detail"]] == []


def test_it_names_a_wrong_parameter_of_the_address(alice):
    refused = alice.post(f"{PROJECTS}?dry_run=maybe", NEW, format="json")

    assert (refused.status_code, refused.json()["param"]) == (422, "dry_run")
    assert not Project.objects.exists()


def test_a_number_in_the_metadata_becomes_a_string(alice):
    """As documented: clients send them."""
    assert create(alice, metadata={"order": 1})["metadata"] == {"order": "1"}


def test_it_lists_every_fault_at_once(alice):
    response = alice.post(PROJECTS, {"parameters": {"seed": -1}}, format="json")

    assert response.json()["code"] == "invalid"
    assert [error["param"] for error in response.json()["errors"]] == [
        "title", "image_url", "audio_url", "parameters.seed",
    ]  # fmt: skip


def test_it_refuses_an_engine_that_is_not_here(alice):
    response = alice.post(PROJECTS, {**NEW, "parameters": {"engine": "infinitetalk"}}, format="json")

    assert response.status_code == 422
    assert (response.json()["code"], response.json()["param"]) == ("engine_unavailable", "parameters.engine")
    assert not Render.objects.exists()


def test_it_refuses_when_too_many_are_queued(alice, plan):
    plan.max_queued = 1
    plan.save(update_fields=["max_queued"])
    create(alice)

    response = alice.post(PROJECTS, NEW, format="json")

    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert int(response["Retry-After"]) > 0
    assert Project.objects.count() == 1


def test_it_refuses_without_quota(alice, plan):
    plan.monthly_seconds = 0
    plan.save(update_fields=["monthly_seconds"])

    response = alice.post(PROJECTS, NEW, format="json")

    assert (response.status_code, response.json()["code"]) == (402, "quota_exceeded")
    assert not Project.objects.exists()


@pytest.mark.parametrize("body", ["{", "nonsense", '{"title": NaN}', "[" * 100_000, b"\xff"])
def test_it_refuses_what_is_not_json(alice, body):
    response = alice.post(PROJECTS, body, content_type="application/json")

    assert (response.status_code, response.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize("body", ["[]", '"text"', "1", "null"])
def test_it_refuses_json_that_is_not_an_object(alice, body):
    response = alice.post(PROJECTS, body, content_type="application/json")

    assert (response.status_code, response.json()["code"]) == (422, "invalid")


def test_it_refuses_a_huge_number(alice):
    body = '{"title": "x", "image_url": "https://a.example/", "audio_url": "https://a.example/", "parameters": %s}'

    response = alice.post(PROJECTS, body % '{"sample_shift": 1e999}', content_type="application/json")

    assert (response.status_code, response.json()["param"]) == (422, "parameters.sample_shift")


def test_it_refuses_a_body_that_is_too_large(alice):
    response = alice.post(PROJECTS, {**NEW, "description": "x" * 1_000_001}, format="json")

    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


def test_it_refuses_a_form(alice):
    response = alice.post(PROJECTS, NEW, format="multipart")

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_it_needs_a_key(anonymous, db):
    response = anonymous.post(PROJECTS, NEW, format="json")

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert response["WWW-Authenticate"] == 'ApiKey realm="api"'


def test_it_needs_the_scope(alice):
    alice.key.scopes = ["projects:read"]
    alice.key.save(update_fields=["scopes"])

    response = alice.post(PROJECTS, NEW, format="json")

    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
