import wave

import numpy as np
import pytest

from render.engines.base import FPS
from render.engines.draft.voice_features import speech_track, voice_seconds
from tests.render.engines.conftest import SAMPLE_RATE, write_voice
from tests.render.engines.lip_sync import voice_levels


def vowel(seconds: float, *formants: float) -> np.ndarray:
    """Harmonics of 120 Hz, strong near the formants."""
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros_like(times)
    for pitch in np.arange(120, 4000, 120):
        strength = sum(np.exp(-(((pitch - formant) / 150) ** 2)) for formant in formants)
        sound += strength * np.sin(2 * np.pi * pitch * times)
    return 0.3 * sound / np.abs(sound).max()


def test_silence_and_faint_noise_keep_the_mouth_closed(tmp_path, silence):
    noise = np.random.default_rng(0).normal(0, 0.0005, SAMPLE_RATE)
    for voice in (silence, write_voice(tmp_path / "noise.wav", noise)):
        assert speech_track(voice, 20).opening.max() < 0.02


def test_a_quiet_speaker_opens_the_mouth_as_far_as_a_loud_one(tmp_path, speech):
    with wave.open(str(speech)) as recording:
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2") / 32768
    quiet = speech_track(write_voice(tmp_path / "quiet.wav", samples / 8), 100)
    assert np.corrcoef(quiet.opening, speech_track(speech, 100).opening)[0, 1] > 0.98


def test_oo_is_round_and_ee_is_wide(tmp_path):
    pause = np.zeros(SAMPLE_RATE // 4)
    sounds = [vowel(0.8, 300, 850), pause, vowel(0.8, 300, 2300), pause, vowel(0.8, 700, 1200)]
    track = speech_track(write_voice(tmp_path / "vowels.wav", np.concatenate(sounds)), 3 * FPS)
    assert track.spread[10] < -0.2
    assert track.spread[36] > 0.2
    assert track.opening[63] > track.opening[10]


def test_a_stop_between_two_vowels_closes_the_lips(tmp_path):
    stop = np.zeros(int(0.09 * SAMPLE_RATE))
    voice = write_voice(tmp_path / "papa.wav", np.concatenate([vowel(0.6, 700, 1200), stop, vowel(0.6, 700, 1200)]))
    opening = speech_track(voice, 30).opening
    assert opening[13:19].min() < 0.25
    assert opening[5:12].min() > 0.4


@pytest.mark.parametrize("offset_ms", range(0, 40, 5))
def test_the_lips_close_in_one_frame_at_least_whenever_a_short_stop_comes(tmp_path, offset_ms):
    before, after = vowel(0.6 + offset_ms / 1000, 700, 1200), vowel(0.6, 700, 1200)
    for stop_ms, closed in ((60, 0.15), (90, 0.02)):
        stop = np.zeros(stop_ms * SAMPLE_RATE // 1000)
        track = speech_track(write_voice(tmp_path / "papa.wav", np.concatenate([before, stop, after])), 30)
        assert track.opening[13:19].min() < closed
        assert min(track.opening[5:11].max(), track.opening[21:27].max()) > 0.7


def test_no_frame_jumps_away_from_the_one_before(speech):
    frames = round(voice_seconds(speech) * FPS)
    track = speech_track(speech, frames + 5)
    opening, levels = track.opening[:frames], voice_levels(speech, frames)
    assert np.abs(np.diff(track.opening)).max() < 0.401  # the end of the voice is one of the steps
    assert np.abs(np.diff(track.spread)).max() < 0.401
    assert opening.max() > 0.85  # the vowels are not smoothed away
    by_lag = {lag: np.corrcoef(opening[2 + lag : frames - 2 + lag], levels[2:-2])[0, 1] for lag in range(-2, 3)}
    assert max(by_lag, key=by_lag.__getitem__) == 0
    assert by_lag[0] > 0.88


def test_a_voice_that_is_cut_off_ends_with_a_mouth_that_closes(tmp_path):
    track = speech_track(write_voice(tmp_path / "cut.wav", vowel(1.0, 700, 1200)), 30)
    assert np.abs(np.diff(track.opening)).max() < 0.401
    assert track.opening[20] > 0.5
    assert track.opening[27:].max() == 0


def test_a_frame_does_not_depend_on_the_number_of_frames(speech):
    long = speech_track(speech, 80)
    for frames in range(40, 60):
        short = speech_track(speech, frames)
        assert all(np.array_equal(getattr(short, name), getattr(long, name)[:frames]) for name in vars(short))


def test_frames_after_the_voice_are_silent(silence, speech):
    frames = round(voice_seconds(speech) * FPS)
    assert speech_track(speech, frames + 50).opening[frames + 2 :].max() == 0
