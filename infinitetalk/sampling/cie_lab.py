"""sRGB to CIE Lab (D65, 2 degrees) and back, on any device, with the constants and the clipping of scikit-image.

kornia is not used: it mixes the channels by a convolution, which torch computes in TensorFloat-32 on a GPU (3 digits).
"""

from collections.abc import Iterable, Sequence

import torch

WHITE = (0.95047, 1.0, 1.08883)
TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
TO_RGB = tuple(map(tuple, torch.tensor(TO_XYZ, dtype=torch.float64).inverse().tolist()))


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """3, ... in [0, 1] -> 3, ...: lightness 0 to 100, then a and b."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    x, y, z = (plane / white for plane, white in zip(_mix(TO_XYZ, linear), WHITE, strict=True))
    x, y, z = (torch.where(part > 0.008856, part ** (1 / 3), 7.787 * part + 16 / 116) for part in (x, y, z))
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def lab_to_rgb(lab: torch.Tensor) -> torch.Tensor:
    """3, ... -> 3, ... in [0, 1]: colors outside sRGB are clipped."""
    lightness, a, b = lab
    y = (lightness + 16) / 116
    cubes = torch.stack([a / 500 + y, y, (y - b / 200).clamp(min=0)])
    xyz = torch.where(cubes > 0.2068966, cubes**3, (cubes - 16 / 116) / 7.787)
    linear = torch.stack(_mix(TO_RGB, [plane * white for plane, white in zip(xyz, WHITE, strict=True)]))
    return torch.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear).clamp(0, 1)


def _mix(matrix: Sequence[Sequence[float]], planes: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The matrix times the planes, written out: a matrix product could use TensorFloat-32."""
    first, second, third = planes
    return [by_first * first + by_second * second + by_third * third for by_first, by_second, by_third in matrix]
