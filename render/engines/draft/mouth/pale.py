"""What tells the teeth of a person from the lips of this person, in the light of this image."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RED_NOISE, LIGHT_NOISE = 0.02, 0.35  # the usual differences within a lip: of the red share, and of the light

RENEWED = 0.15  # share of what is known from a film that a frame replaces


@dataclass(frozen=True)
class Pale:
    """Compares colors with those of lips and teeth: by the share of red and by the light, whichever differs more."""

    lip_red: float  # share of the sum of the channels
    lip_light: float  # mean of the channels
    tooth_red: float
    tooth_light: float
    least: float  # with a smaller difference there are no teeth

    @property
    def _weights(self) -> tuple[float, float]:
        """How clearly the red and the light differ."""
        paler, lighter = max(self.lip_red - self.tooth_red, 1e-3), max(self.tooth_light - self.lip_light, 1.0)
        return (paler / RED_NOISE) ** 2, (lighter / (LIGHT_NOISE * self.lip_light)) ** 2

    @property
    def difference(self) -> float:
        return sum(self._weights)

    @property
    def shows_teeth(self) -> bool:
        return self.tooth_light >= 0.8 * self.lip_light and self.difference >= self.least

    def renewed(self, seen: "Pale") -> "Pale":
        """After the next frame of a film: one that shows less contrast tells less about the teeth."""
        teeth = RENEWED * min(seen.difference / max(self.difference, 1e-3), 1) if self.shows_teeth else 1.0
        if not seen.shows_teeth:
            teeth = 0.0
        return replace(
            self,
            lip_red=self.lip_red + RENEWED * (seen.lip_red - self.lip_red),
            lip_light=self.lip_light + RENEWED * (seen.lip_light - self.lip_light),
            tooth_red=self.tooth_red + teeth * (seen.tooth_red - self.tooth_red),
            tooth_light=self.tooth_light + teeth * (seen.tooth_light - self.tooth_light),
        )

    def __call__(self, rgb: Floats) -> Floats:
        """0 for a lip, 1 for a tooth."""
        light: Floats = rgb.mean(axis=-1)
        if not self.shows_teeth:
            return np.zeros_like(light)
        by_red, by_light = self._weights
        paler, lighter = max(self.lip_red - self.tooth_red, 1e-3), max(self.tooth_light - self.lip_light, 1.0)
        share = by_red * (self.lip_red - rgb[..., 0] / (3 * light + 1)) / paler
        share += by_light * (light - self.lip_light) / lighter
        return np.clip(share / (by_red + by_light), 0, 1).astype(np.float32)


def contrast(lip: Floats, inside: Floats, least: float) -> Pale:
    """From the colors of a lip and of what is between the lips, N x 3 RGB: its brightest part is taken for teeth."""
    lip_light, light = lip.mean(axis=-1), inside.mean(axis=-1)
    bright = np.argsort(light, kind="stable")[int(0.7 * len(light)) :]
    red = inside[bright, 0] / (3 * light[bright] + 1)
    return Pale(
        lip_red=_quantile(lip[:, 0] / (3 * lip_light + 1), 0.5),
        lip_light=_quantile(lip_light, 0.5) + 1,
        tooth_red=_quantile(red, 0.25),
        tooth_light=float(light[bright[len(bright) // 2]]),
        least=least,
    )


def _quantile(values: Floats, share: float) -> float:
    """Much quicker than NumPy's for the few values here."""
    return float(np.sort(values)[int(share * len(values))])
