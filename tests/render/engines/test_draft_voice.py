import wave

import numpy as np

from render.engines.base import FPS
from render.engines.draft.voice_features import speech_track, voice_seconds
from tests.render.engines.conftest import SAMPLE_RATE, write_voice


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


def test_frames_after_the_voice_are_silent(silence, speech):
    frames = round(voice_seconds(speech) * FPS)
    assert speech_track(speech, frames + 50).opening[frames + 2 :].max() == 0
