"""Where the analysis cuts and how it bins.

θ² is in deg², energies are in GeV, charges in photo-electrons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Cuts:
    """What an event must pass to be counted, and the regions of θ² where it is."""

    hadronness_max: float = 0.2
    energy_min: float = 100.0
    on_max: float = 0.02
    off_min: float = 0.1
    off_max: float = 0.3

    @property
    def alpha(self) -> float:
        """On region over off region; a flat background has as many counts per deg² in both."""
        return round(self.on_max / (self.off_max - self.off_min), 12)

    def as_json(self) -> dict[str, float]:
        """The cuts, each with its unit in its name."""
        return {
            "hadronness_below": self.hadronness_max,
            "energy_from_gev": self.energy_min,
            "on_region_theta2_below_deg2": self.on_max,
            "off_region_theta2_from_deg2": self.off_min,
            "off_region_theta2_below_deg2": self.off_max,
        }


CUTS = Cuts()

THETA2_EDGES = tuple(round(0.01 * step, 10) for step in range(41))
"""deg²; on and off regions begin and end at edges."""

ENERGY_EDGES = tuple(10 ** (1.6 + step / 5) for step in range(15))
"""GeV; five bins a decade, from 40 GeV to 25 TeV."""

CHARGE_EDGES = (*range(-10, 100, 2), *range(100, 501, 20))
"""Photo-electrons of one pixel in one event."""

EDGES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "theta2": THETA2_EDGES,
        "energy_on": ENERGY_EDGES,
        "energy_off": ENERGY_EDGES,
        "charge": CHARGE_EDGES,
    }
)
"""Every histogram of the analysis, by name."""
