"""InfiniteTalk: talking-head video of any length from an image (or a video) and a voice.

Our own implementation, on diffusers and transformers classes, of "InfiniteTalk: Audio-driven Video Generation for
Sparse-Frame Video Dubbing" (arXiv:2508.14033) for the published weights on Wan2.1-I2V-14B-480P.

Nothing is imported here: `buckets`, `presets` and `video_end` must stay free of torch.
"""
