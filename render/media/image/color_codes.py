"""ICC profiles for images that give their colors as codes of ITU-T H.273: HEIC and AVIF (`nclx`), PNG (`cICP`)."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Code of the primaries -> x and y of red, green and blue. The white of all is D65.
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),  # BT.709 and sRGB
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
D65 = (0.3127, 0.3290)  # x and y
D50 = (0.9642, 1.0, 0.8249)  # XYZ: the white of ICC profiles
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
PAPER = 203  # cd/m2: this luminance becomes white, as in `render.media.video.filters`
CURVE_POINTS = 4096
PNG_HEADER_BYTES, MAX_CHUNKS = 8, 100
AVIF_HEAD_BYTES = 65_536
Values = NDArray[np.float64]


def icc_profile(image: Image.Image, source: Path) -> bytes | None:
    """A profile for the image's codes. None without codes, and for those of sRGB, which needs no conversion."""
    nclx = image.info.get("nclx_profile")
    if nclx:
        primaries, transfer = nclx["color_primaries"], nclx["transfer_characteristics"]
    elif image.format == "PNG":
        primaries, transfer = _png_codes(source)
    elif image.format == "AVIF":
        primaries, transfer = _avif_codes(source)
    else:
        return None
    if primaries not in PRIMARIES or (primaries == 1 and transfer not in HDR_CURVES):
        return None
    # The curves of all images that are not HDR are close to that of sRGB, so that one is used for all.
    return _profile(PRIMARIES[primaries], HDR_CURVES.get(transfer, _srgb))


def _png_codes(source: Path) -> tuple[int, int]:
    """Primaries and transfer of the chunk cICP (PNG, third edition, 11.3.2.6) before the pixels; zeros without it."""
    with source.open("rb") as file:
        file.seek(PNG_HEADER_BYTES)
        for _ in range(MAX_CHUNKS):
            header = file.read(8)
            if len(header) < 8 or header[4:] == b"IDAT":
                break
            if header[4:] == b"cICP":
                content = file.read(2)
                return (content[0], content[1]) if len(content) == 2 else (0, 0)
            file.seek(int.from_bytes(header[:4], "big") + 4, 1)
    return 0, 0


def _avif_codes(source: Path) -> tuple[int, int]:
    """Primaries and transfer of the first `colr` box (ISO/IEC 14496-12, 12.1.5), the image's own; zeros without it."""
    with source.open("rb") as file:
        head = file.read(AVIF_HEAD_BYTES)
    place = head.find(b"colrnclx")
    content = head[place + 8 : place + 12] if place >= 0 else b""
    return struct.unpack(">HH", content) if len(content) == 4 else (0, 0)


def _srgb(values: Values) -> Values:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _pq(values: Values) -> Values:
    """BT.2100: the light of each value, 1 for PAPER."""
    root = values ** (1 / 78.84375)
    light = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    return 10_000 / PAPER * light ** (1 / 0.1593017578125)


def _hlg(values: Values) -> Values:
    """BT.2100, on a screen of 1000 cd/m2, each color by itself. 1 for PAPER."""
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return 1000 / PAPER * scene**1.2


HDR_CURVES: dict[int, Callable[[Values], Values]] = {16: _pq, 18: _hlg}


def _xyz(x: float, y: float) -> Values:
    return np.array([x / y, 1, (1 - x - y) / y])


def _profile(primaries: tuple[tuple[float, float], ...], curve: Callable[[Values], Values]) -> bytes:
    """A profile of a display with a matrix and one curve (ICC.1:2010). primaries: x and y of red, green and blue."""
    to_xyz = np.stack([_xyz(*primary) for primary in primaries], axis=1)
    to_xyz = to_xyz * np.linalg.solve(to_xyz, _xyz(*D65))
    to_d50 = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ np.array(D50) / (BRADFORD @ _xyz(*D65))) @ BRADFORD
    points = np.clip(curve(np.linspace(0, 1, CURVE_POINTS)), 0, 1)
    numbers = np.round(points * 65_535).astype(">u2").tobytes()
    curve_tag = b"curv" + bytes(4) + struct.pack(">I", CURVE_POINTS) + numbers
    red, green, blue = (to_d50 @ to_xyz).T
    contents = [_xyz_tag(np.array(D50)), _xyz_tag(red), _xyz_tag(green), _xyz_tag(blue), curve_tag]
    tags = {b"wtpt": 0, b"rXYZ": 1, b"gXYZ": 2, b"bXYZ": 3, b"rTRC": 4, b"gTRC": 4, b"bTRC": 4}  # name -> content
    header_bytes, table_bytes = 128, 4 + 12 * len(tags)
    starts = np.cumsum([header_bytes + table_bytes, *(len(content) for content in contents)]).tolist()
    table = b"".join(struct.pack(">4sII", name, starts[place], len(contents[place])) for name, place in tags.items())
    header = struct.pack(">I4xI4s4s4s12x4s28x", starts[-1], 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header += _fixed(np.array(D50))
    return header.ljust(header_bytes, b"\0") + struct.pack(">I", len(tags)) + table + b"".join(contents)


def _xyz_tag(values: Values) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _fixed(values: Values) -> bytes:
    return np.round(values * 65_536).astype(">i4").tobytes()
