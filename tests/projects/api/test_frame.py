"""What the API says of a video's frame, and of what will not look well, before anything is rendered."""

import pytest

from projects.models import Project
from tests.projects.assets.test_uploads import ready
from tests.projects.steps import NEW, PROJECTS, create, finished_project, latest_render

DRY = f"{PROJECTS}?dry_run=true"
LEFT, MIDDLE, RIGHT = (
    {"x": x, "y": 0.3, "width": width, "height": 0.3} for x, width in ((0.1, 0.15), (0.4, 0.16), (0.7, 0.17))
)
THREE = [RIGHT, MIDDLE, LEFT]  # as they are stored, the widest first


def asset(caller, size: tuple[int, int] = (1920, 1080), kind: str = "image", **facts) -> dict:
    """size: width and height in pixels."""
    facts = {"width": size[0], "height": size[1], "faces": THREE, "turned": [], "cut_off": [], **facts}
    return ready(caller, kind, source_size=[size[1], size[0]], **facts)


def dry(caller, image: dict, **fields) -> dict:
    response = caller.post(DRY, {**NEW, "image_url": image["reference"], **fields}, format="json")
    assert response.status_code == 200, response.content
    return response.json()


def refused(caller, **fields) -> dict:
    response = caller.post(PROJECTS, {**NEW, **fields}, format="json")
    assert response.status_code == 422, response.content
    assert not Project.objects.exists()
    return response.json()


def codes(body: dict) -> list[str]:
    return [warning["code"] for warning in body["warnings"]]


def test_an_asset_lists_its_faces_from_left_to_right(alice) -> None:
    assert asset(alice)["faces"] == [LEFT, MIDDLE, RIGHT]


@pytest.mark.parametrize(
    ("parameters", "size", "crop"),
    [
        ({}, (848, 480), None),
        ({"resolution": "720p"}, (1280, 720), None),
        ({"aspect_ratio": "1:1"}, (640, 640), 0.5625),
        ({"aspect_ratio": "1:1", "fit": "pad"}, (640, 640), None),
        ({"upscale": "1080p", "aspect_ratio": "16:9"}, (1920, 1080), None),
    ],
)
def test_the_size_and_what_is_cut_off_are_told_at_once(alice, plan, parameters, size, crop) -> None:
    plan.prices |= {"upscale": {"1080p": 2000}}
    plan.save()
    image = asset(alice, faces=[MIDDLE])

    for body in (
        dry(alice, image, parameters=parameters),
        create(alice, image_url=image["reference"], parameters=parameters),
    ):
        assert (body["width"], body["height"]) == size
        assert ("cropped" in codes(body)) == (crop is not None) == (body["crop"] is not None)
        if crop:
            assert body["crop"]["width"] == pytest.approx(crop, abs=0.01)
            assert "44 % of the source" in body["warnings"][0]["detail"]


def test_an_enlarged_video_costs_more_where_the_plan_has_a_price(alice, plan) -> None:
    image, large = asset(alice), {"upscale": "1080p"}
    problem = refused(alice, image_url=image["reference"], parameters=large)
    assert (problem["code"], problem["param"]) == ("price_missing", "parameters.upscale")

    plan.prices |= {"upscale": {"1080p": 2000}}
    plan.save()
    small, large = (dry(alice, image, parameters=parameters)["price"] for parameters in ({}, large))
    assert large["micros_per_second"] - small["micros_per_second"] == 2000


def test_what_is_large_enough_already_is_neither_enlarged_nor_charged_for_it(alice, plan) -> None:
    plan.prices |= {"upscale": {"720p": 2000}}
    plan.save()
    large = {"resolution": "720p", "upscale": "720p"}

    body = dry(alice, asset(alice), parameters=large)

    assert (body["width"], body["height"]) == (1280, 720) and codes(body) == ["unused"]
    assert body["price"] == dry(alice, asset(alice), parameters={"resolution": "720p"})["price"]


def test_of_an_address_nothing_is_known_yet(alice) -> None:
    body = create(alice)
    assert body["width"] is body["height"] is body["crop"] is None


def test_the_crop_keeps_the_chosen_face(alice) -> None:
    image = asset(alice)
    crops = [
        dry(alice, image, parameters={"aspect_ratio": "9:16"}, speakers=[{"audio": 1, "face": {"index": index}}])[
            "crop"
        ]
        for index in range(3)
    ]
    for crop, face in zip(crops, (LEFT, MIDDLE, RIGHT), strict=True):
        assert crop["x"] <= face["x"] and face["x"] + face["width"] <= crop["x"] + crop["width"] + 1e-3


def test_one_of_several_speaks_and_the_model_for_two_is_told_of(alice) -> None:
    image = asset(alice)
    body = dry(alice, image, speakers=[{"audio": 1, "face": {"box": MIDDLE}}])
    [warning] = [warning for warning in body["warnings"] if warning["code"] == "others_keep_still"]
    assert "2 other faces keep still" in warning["detail"] and "model for two speakers" in warning["detail"]
    assert "others_keep_still" not in codes(dry(alice, image))
    alone = dry(alice, image, speakers=[{"audio": 1, "face": {"box": RIGHT}}], parameters={"aspect_ratio": "9:16"})
    assert "others_keep_still" not in codes(alone)  # They are cut off.


def test_speakers_are_echoed_and_given_to_the_render(alice) -> None:
    speakers = [{"audio": 1, "face": {"index": 2}}]
    project = create(alice, speakers=speakers)

    assert project["speakers"] == speakers == latest_render(project["id"]).speakers
    assert create(alice)["speakers"] == [] == create(alice, speakers=None)["speakers"]


@pytest.mark.parametrize(
    ("speakers", "param", "told"),
    [
        ([{"audio": 2, "face": {"index": 0}}], "speakers", "The request has 1 voice, so one entry with audio 1 is"),
        ([{"audio": 1, "face": {}}], "speakers.0.face", "Give a box or an index"),
        ([{"audio": 1, "face": {"index": -1}}], "speakers.0.face.index", "greater than or equal to 0"),
        ([{"audio": 1, "face": {"box": {**LEFT, "width": 0}}}], "speakers.0.face.box.width", "greater than 0"),
        ([{"audio": 1, "face": {"box": {**LEFT, "x": 0.9}}}], "speakers.0.face.box.width", "reach beyond the image"),
        ([{"audio": 1}], "speakers.0.face", "required"),
        ({"audio": 1}, "speakers", "list"),
    ],
)
def test_what_speakers_may_be(alice, speakers, param, told) -> None:
    problem = refused(alice, speakers=speakers)
    assert problem["code"] == "invalid" and problem["param"].startswith(param) and told in problem["detail"]


def test_ten_thousand_speakers_are_refused_before_each_is_looked_at(alice) -> None:
    problem = refused(alice, speakers=[{}] * 10_000)
    assert (problem["param"], len(problem["errors"])) == ("speakers", 1) and "At most 2" in problem["detail"]


def test_names_that_there_are_not_are_told_of_speakers_too(alice) -> None:
    speakers = [{"audio": 1, "name": "Ann", "face": {"box": {**LEFT, "unit": "px"}, "side": "left"}}]
    body = create(alice, speakers=speakers)
    unknown = {warning["param"] for warning in body["warnings"] if warning["code"] == "unknown"}
    assert unknown == {"speakers.0.name", "speakers.0.face.side", "speakers.0.face.box.unit"}


def test_two_voices_need_two_speakers(alice) -> None:
    one = [{"audio": 1, "face": {"index": 0}}]
    problem = refused(alice, speakers=one, audio_url_2="https://example.com/b.mp3")
    assert "two entries with audio 1 and 2 are needed; given: audio 1" in problem["detail"]


@pytest.mark.parametrize(
    ("face", "facts", "code"),
    [
        ({"index": 3}, {}, "no_face"),
        ({"box": {"x": 0, "y": 0.8, "width": 0.1, "height": 0.1}}, {}, "no_face_in_box"),
        ({"index": 0}, {"faces": [], "cut_off": [LEFT]}, "face_cropped"),
    ],
)
def test_a_face_that_is_not_there_is_refused_at_once(alice, face, facts, code) -> None:
    image = asset(alice, **facts)
    problem = refused(alice, image_url=image["reference"], speakers=[{"audio": 1, "face": face}])
    assert problem["code"] == code


def test_the_draft_refuses_an_asset_without_a_face_at_once(alice) -> None:
    assert refused(alice, image_url=asset(alice, faces=[])["reference"])["code"] == "no_face"
    assert refused(alice, image_url=asset(alice, faces=[], cut_off=[LEFT])["reference"])["code"] == "face_cropped"
    drawn = asset(alice, faces=[])["reference"]
    assert create(alice, image_url=drawn, parameters={"engine": "stateful"})["width"] == 848


@pytest.mark.parametrize(
    ("fields", "facts", "told"),
    [
        ({"audio_url_2": "https://example.com/b.mp3"}, {"faces": [MIDDLE]}, "only one face was found"),
        ({}, {"turned": [0, 1, 2]}, "turned away"),
        ({}, {"faces": [{**MIDDLE, "width": 0.06}]}, "51 pixels wide in the video, 60 are needed"),
        ({"speakers": [{"audio": 1, "face": {"index": 2}}]}, {"turned": [0]}, "turned away"),
    ],
)
def test_what_the_draft_would_refuse_is_refused_at_once(alice, fields, facts, told) -> None:
    problem = refused(alice, image_url=asset(alice, **facts)["reference"], **fields)
    assert problem["code"] == "no_face" and told in problem["detail"]


def test_of_a_video_only_the_beginning_was_searched_so_it_is_not_refused(alice) -> None:
    create(alice, image_url=asset(alice, kind="video", faces=[])["reference"])


def test_a_video_without_sound_is_no_voice(alice) -> None:
    silent = ready(alice, "video", has_sound=False)["reference"]
    problem = refused(alice, audio_url=silent)
    assert (problem["code"], problem["param"]) == ("audio_invalid", "audio_url")


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"aspect_ratio": "1:1"}, "Did you mean parameters.aspect_ratio?"),
        ({"speaker": []}, "Did you mean speakers?"),
        ({"parameters": {"backgroud": "blur"}}, "Did you mean parameters.background?"),
        ({"flavour": 1}, "it was not used."),
    ],
)
def test_a_misspelt_name_is_told_what_was_probably_meant(alice, fields, hint) -> None:
    [warning] = create(alice, **fields)["warnings"]
    assert warning["code"] == "unknown" and warning["detail"].endswith(hint)


def test_fields_without_effect_are_told(alice) -> None:
    body = create(alice, audio_order="right_left", voice="anna", language="en")
    assert [warning["param"] for warning in body["warnings"]] == ["audio_order", "voice", "language"]
    assert codes(body) == ["unused"] * 3


def test_a_voice_longer_than_the_video_is_told_before_it_is_cut(alice) -> None:
    video = asset(alice, kind="video", duration_seconds=4.0)
    voice = ready(alice, "audio", duration_seconds=7.0)["reference"]
    assert "voice_cut" in codes(dry(alice, video, audio_url=voice, parameters={"length": "video"}))


def test_two_faces_for_one_voice_are_refused(alice) -> None:
    both = [{"audio": number, "face": {"index": 1}} for number in (1, 2)]
    problem = refused(
        alice, image_url=asset(alice)["reference"], audio_url_2="https://example.com/b.mp3", speakers=both
    )
    assert (problem["code"], problem["param"]) == ("speakers_overlap", "speakers")


def test_a_small_face_is_told(alice) -> None:
    small = {"x": 0.45, "y": 0.4, "width": 0.09, "height": 0.16}
    image = asset(alice, faces=[small])

    [warning] = dry(alice, image)["warnings"]
    assert (warning["param"], warning["code"]) == ("image_url", "face_small") and "77 pixels" in warning["detail"]
    assert dry(alice, image, parameters={"resolution": "720p"})["warnings"] == []


def test_a_long_video_of_one_image_is_told(alice) -> None:
    image, minute, more = asset(alice), {"frame_num": 1497}, {"frame_num": 1525}
    assert "long_from_one_picture" in codes(dry(alice, image, parameters=more))
    assert "long_from_one_picture" not in codes(dry(alice, image, parameters=minute))
    assert "long_from_one_picture" not in codes(dry(alice, asset(alice, kind="video"), parameters=more))
    voice = ready(alice, "audio", duration_seconds=61.0)["reference"]
    assert "long_from_one_picture" in codes(dry(alice, image, audio_url=voice))


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"preset": "fast", "sample_audio_guide_scale": 4.0}, "parameters.sample_audio_guide_scale"),
        ({"preset": "standard", "sample_text_guide_scale": 5.0}, "parameters.sample_text_guide_scale"),
        ({"sample_text_guide_scale": 1.5}, "parameters.sample_text_guide_scale"),
        ({"preset": "fast"}, None),
        ({}, None),
        ({"preset": "quality"}, None),
        ({"sample_text_guide_scale": 5.0, "lora_scale": 0}, None),
    ],
)
def test_guidance_that_does_not_fit_the_model_is_told(alice, parameters, param) -> None:
    warned = create(alice, parameters=parameters)["warnings"]
    params = [warning["param"] for warning in warned if warning["code"] == "guidance_with_distilled"]
    assert params == ([param] if param else [])


@pytest.mark.parametrize(
    ("parameters", "kind", "unused"),
    [
        ({"pad_color": "#000000"}, "image", ["parameters.pad_color"]),
        ({"pad_color": "#000000", "fit": "pad", "aspect_ratio": "1:1"}, "image", []),
        ({"fit": "pad"}, "image", ["parameters.fit"]),
        ({"background_blur": 0.2}, "image", ["parameters.background_blur"]),
        ({"background_blur": 0.2, "background": "blur"}, "image", []),
        ({"video_end": "loop", "length": "video"}, "image", ["parameters.video_end", "parameters.length"]),
        ({"video_end": "loop", "length": "video"}, "video", []),
    ],
)
def test_what_has_no_effect_is_told(alice, parameters, kind, unused) -> None:
    body = dry(alice, asset(alice, kind=kind), parameters=parameters)
    assert [warning["param"] for warning in body["warnings"] if warning["code"] == "unused"] == unused


@pytest.mark.parametrize(
    ("parameters", "param", "told"),
    [
        ({"aspect_ratio": "3:2"}, "parameters.aspect_ratio", "16:9"),
        ({"fit": "stretch"}, "parameters.fit", "crop"),
        ({"pad_color": "red", "fit": "pad"}, "parameters.pad_color", "#rrggbb"),
        ({"background": "green"}, "parameters.background", "'green' is not a background"),
        ({"background": "avatar:5b0c7f0e-7b0c-4b0e-8b0e-5b0c7f0e7b0c"}, "parameters.background", "asset:ID"),
        ({"background_blur": 2}, "parameters.background_blur", "1"),
        ({"video_end": "stop"}, "parameters.video_end", "bounce"),
        ({"length": "video", "frame_num": 25}, "parameters.length", "frame_num"),
        ({"upscale": "4k"}, "parameters.upscale", "1080p"),
    ],
)
def test_what_the_parameters_may_be(alice, parameters, param, told) -> None:
    problem = refused(alice, parameters=parameters)
    assert (problem["code"], problem["param"]) == ("invalid", param) and told in problem["detail"]


@pytest.mark.parametrize(("kind", "background"), [("image", "transparent"), ("video", "blur"), ("video", "#ffffff")])
def test_a_person_is_not_cut_out_of_every_frame_of_a_long_video(alice, kind, background) -> None:
    image, long = asset(alice, kind=kind)["reference"], ready(alice, "audio", duration_seconds=301.0)["reference"]

    problem = refused(alice, image_url=image, audio_url=long, parameters={"background": background})

    assert (problem["code"], problem["param"]) == ("video_too_long", "parameters.background")
    assert "300 s" in problem["detail"] and "301 s" in problem["detail"]
    create(alice, image_url=image, audio_url=long)
    create(alice, image_url=asset(alice)["reference"], audio_url=long, parameters={"background": "#ffffff"})


def test_the_length_of_the_video_means_nothing_for_an_image_and_hides_no_price(alice) -> None:
    voice = ready(alice, "audio", duration_seconds=7.0)["reference"]
    body = dry(alice, asset(alice), audio_url=voice, parameters={"length": "video"})
    assert (body["price"]["seconds"], codes(body)) == (7, ["unused"])


def test_a_transparent_final_video_is_refused_also_when_a_draft_is_finalized(alice) -> None:
    transparent = {"background": "transparent"}
    problem = refused(alice, parameters={**transparent, "engine": "stateful"})
    assert (problem["code"], problem["param"]) == ("background_unavailable", "parameters.background")

    draft = finished_project(alice, parameters=transparent)
    response = alice.post(draft["urls"]["finalize"])
    assert (response.status_code, response.json()["code"]) == (422, "background_unavailable")


def test_a_background_is_an_image_of_the_same_account(alice, charlie) -> None:
    image = asset(alice)
    picture, voice = ready(alice, "image", faces=[]), ready(alice, "audio")
    project = create(alice, image_url=image["reference"], parameters={"background": picture["reference"]})
    assert project["parameters"]["background"] == picture["reference"]
    assert latest_render(project["id"]).parameters["background"].startswith("stored:")

    for background, code in (
        (voice["reference"], "image_invalid"),
        (ready(charlie, "image", faces=[])["reference"], "asset_not_found"),
    ):
        response = alice.post(
            PROJECTS, {**NEW, "image_url": image["reference"], "parameters": {"background": background}}, format="json"
        )
        assert response.status_code == 422 and response.json()["code"] == code, response.content
        assert response.json()["param"] == "parameters.background"


def test_a_background_that_a_waiting_render_needs_is_not_deleted(alice, all_scopes) -> None:
    picture = ready(alice, "image", faces=[])
    create(alice, image_url=asset(alice)["reference"], parameters={"background": picture["reference"]})

    response = alice.delete(f"/api/v1/assets/{picture['id']}")

    assert (response.status_code, response.json()["code"]) == (409, "invalid_state")
