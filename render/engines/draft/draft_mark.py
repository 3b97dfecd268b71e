"""The mark in each frame of a draft, which tells it from a final render."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from render.engines.faces import RgbImage
from render.frame.boxes import Box

TEXT = "AI DRAFT"
TEXT_OPACITY = 0.85
PLATE_OPACITY = 0.38
MIN_TEXT_HEIGHT = 13  # pixels


class DraftMark:
    """White on a dark plate, in the bottom right corner of frames of one size."""

    def __init__(self, height: int, width: int) -> None:
        size = max(min(height, width) // 36, MIN_TEXT_HEIGHT)
        font = ImageFont.load_default(size)
        left, top, right, bottom = (round(edge) for edge in font.getbbox(TEXT))
        pad = size // 2
        plate = (right - left + 2 * pad, bottom - top + 2 * pad)
        text, background = Image.new("L", plate, 0), Image.new("L", plate, 0)
        ImageDraw.Draw(text).text((pad - left, pad - top), TEXT, fill=255, font=font)
        ImageDraw.Draw(background).rounded_rectangle((0, 0, plate[0] - 1, plate[1] - 1), radius=pad, fill=255)

        white = np.asarray(text, dtype=np.float32)[..., None] / 255 * TEXT_OPACITY
        dark = np.asarray(background, dtype=np.float32)[..., None] / 255 * PLATE_OPACITY
        self._keep = (1 - dark) * (1 - white)
        self._add = 255 * white
        x, y = width - plate[0] - size, height - plate[1] - size
        self.box = np.s_[y : y + plate[1], x : x + plate[0]]
        self.box_shares = Box(x / width, y / height, plate[0] / width, plate[1] / height)

    def draw(self, frame: RgbImage) -> None:
        frame[self.box] = (frame[self.box] * self._keep + self._add).astype(np.uint8)
