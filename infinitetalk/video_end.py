"""What a source video shows when the voice is longer than the video. Plain arithmetic, without torch.

`render` imports this module: a named exception of the import law, so that every engine shows the same frames. It must
not import torch, nor anything that does. Every process of the service loads it, so it does not import NumPy either.
"""

# bounce: back and forth; loop: from the first frame again; hold: the last frame stays.
VIDEO_ENDS = ("bounce", "loop", "hold")


def source_frame(number: int, num_source_frames: int, end: str) -> int:
    """The number of the source frame that a frame of the rendered video shows; both are counted from 0.

    num_source_frames: at the frame rate of the rendered video, one at least. end: one of VIDEO_ENDS. With `bounce` the
    frames at the turns are not doubled. Raises ValueError for another end.
    """
    last = num_source_frames - 1
    if end == "hold" or (end == "bounce" and last == 0):
        return min(number, last)
    if end == "loop":
        return number % num_source_frames
    if end == "bounce":
        position = number % (2 * last)
        return min(position, 2 * last - position)
    raise ValueError(f"video_end is {end!r}; it must be one of {', '.join(VIDEO_ENDS)}.")
