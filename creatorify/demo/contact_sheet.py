"""A video at a glance: some of its frames in a row, each with its time, as one image."""

from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

FRAMES = 8
FRAME_WIDTH = 240  # pixels
LINE = 28  # pixels: the height of the times below the frames
GAP = 4  # pixels between frames
BACKGROUND, INK = (24, 24, 24), (235, 235, 235)


def write_contact_sheet(video: Path, path: Path) -> Path:
    """Save a JPEG. The frames stand for equal parts of the video, each the middle of its part."""
    cells = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None and stream.time_base is not None, "our videos have both"
        for number in range(FRAMES):
            wanted = int(stream.duration * (number + 0.5) / FRAMES)  # in units of the time base; our videos start at 0
            container.seek(wanted, stream=stream)  # to a key frame before it
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts + (frame.duration or 0) > wanted:
                    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
                    cells.append((float(frame.pts * stream.time_base), image))
                    break
    _row(cells).save(path, "JPEG", quality=90)
    return path


def _row(cells: list[tuple[float, Image.Image]]) -> Image.Image:
    """cells: seconds and frame."""
    height = round(FRAME_WIDTH * cells[0][1].height / cells[0][1].width)
    sheet = Image.new("RGB", (len(cells) * (FRAME_WIDTH + GAP) - GAP, height + LINE), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for number, (seconds, frame) in enumerate(cells):
        left = number * (FRAME_WIDTH + GAP)
        sheet.paste(frame.resize((FRAME_WIDTH, height), Image.Resampling.LANCZOS), (left, 0))
        draw.text((left + FRAME_WIDTH / 2, height + LINE / 2), f"{seconds:.1f} s", INK, font, anchor="mm")
    return sheet
