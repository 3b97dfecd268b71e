from render.parameters import Parameters


def test_what_is_not_given_gets_the_contracts_default() -> None:
    parameters = Parameters.resolve({"seed": 0})

    assert parameters == Parameters(
        seed=0,
        resolution="480p",
        sample_steps=8,
        sample_shift=3.0,
        sample_text_guide_scale=1.0,
        sample_audio_guide_scale=6.0,
        lora_scale=1.0,
        color_correction_strength=0.2,
    )


def test_a_preset_sets_several_and_an_explicit_value_wins() -> None:
    parameters = Parameters.resolve({"seed": 1, "preset": "standard", "sample_shift": 5.0})

    assert (parameters.sample_steps, parameters.sample_audio_guide_scale, parameters.sample_shift) == (8, 2.0, 5.0)


def test_full_quality_shifts_more_at_720p() -> None:
    assert Parameters.resolve({"seed": 1, "preset": "quality"}).sample_shift == 7.0
    assert Parameters.resolve({"seed": 1, "preset": "quality", "resolution": "720p"}).sample_shift == 11.0


def test_stored_parameters_come_back_the_same() -> None:
    parameters = Parameters.resolve({"seed": 1, "preset": "fast", "resolution": "720p", "frame_num": 81})

    assert Parameters.resolve(parameters.as_json()) == parameters


def test_null_and_unknown_names_count_as_not_given() -> None:
    assert Parameters.resolve({"seed": 1, "sample_steps": None, "speed": 9}) == Parameters(seed=1)
