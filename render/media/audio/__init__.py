"""Voices: normalisation of recordings, the mix of a video's voices, AAC. No video frames."""
