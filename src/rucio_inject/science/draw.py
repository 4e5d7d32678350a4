"""Draws of plausible MAGIC events, as NumPy arrays a chunk at a time. Needs the extra [science].

Energies are in GeV, angles in degrees, charges in photo-electrons. The physics is simple and honest
about it: enough for cuts, a θ² plot and a spectrum to come out as they do for the Crab Nebula.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Chunk: TypeAlias = dict[str, Array]

PIXELS = 1039
MELIBEA_CHUNK = 50_000  # events
CALIBRATED_CHUNK = 500  # events

THETA2_MAX = 0.4  # deg²
_ENERGY_GRID = np.geomspace(30.0, 30_000.0, 2_000)  # GeV
_RATE = 250.0  # recorded stereo events a second
_RUN_START = 0.9  # of a day: runs are taken at night
_PIXEL_PITCH = 0.1  # deg, flat to flat
_NOISE = 1.1  # photo-electrons, of night sky and electronics, in each pixel


def melibea(events: int, *, seed: int, gamma_fraction: float, mjd: int) -> Iterator[Chunk]:
    """Reconstructed stereo events of one run, in chunks."""
    rng = np.random.default_rng(seed)
    gamma_rate = _cumulative(_crab_flux(_ENERGY_GRID) * _acceptance(_ENERGY_GRID))
    hadron_rate = _cumulative(_ENERGY_GRID**-2.9 * _acceptance(_ENERGY_GRID))
    clock = _Clock(rng, mjd)
    for first in range(0, events, MELIBEA_CHUNK):
        count = min(MELIBEA_CHUNK, events - first)
        is_gamma = rng.random(count) < gamma_fraction
        true = np.where(
            is_gamma, _draw_energy(rng, gamma_rate, count), _draw_energy(rng, hadron_rate, count)
        )
        energy = true * np.exp(rng.normal(0.0, 0.17, count))  # the resolution of stereo events
        size = 1.6 * true * np.exp(rng.normal(0.0, 0.4, count)) + 50.0
        yield {
            "MRawEvtHeader_1.fStereoEvtNumber": np.arange(first + 1, first + count + 1, dtype="u4"),
            **clock.tick(count, "_1"),
            "MHillas_1.fSize": size.astype("f4"),
            "MHillas_2.fSize": (size * rng.normal(1.0, 0.15, count).clip(0.5)).astype("f4"),
            "MHadronness.fHadronness": _hadronness(rng, is_gamma),
            "MEnergyEst.fEnergy": energy,
            "MStereoParDisp.fTheta2": _theta2(rng, is_gamma, true),
        }


def calibrated(events: int, *, seed: int, mjd: int) -> Iterator[Chunk]:
    """Camera images of one telescope in one run, in chunks: noise, and a shower in each."""
    rng = np.random.default_rng(seed)
    clock = _Clock(rng, mjd)
    x, y = camera_pixels()
    for first in range(0, events, CALIBRATED_CHUNK):
        count = min(CALIBRATED_CHUNK, events - first)
        yield {
            "MRawEvtHeader.fStereoEvtNumber": np.arange(first + 1, first + count + 1, dtype="u4"),
            **clock.tick(count, ""),
            "MCerPhotEvt.fPixels.fPhot": _images(rng, count, x, y),
        }


def camera_pixels() -> tuple[Floats, Floats]:
    """Where the 1039 pixels are (x, y in deg): the innermost ones of a hexagonal grid."""
    steps = np.arange(-22, 23)
    column, row = (grid.ravel() for grid in np.meshgrid(steps, steps))
    x = _PIXEL_PITCH * (column + row / 2)
    y = _PIXEL_PITCH * row * np.sqrt(3) / 2
    # Rounded, so that pixels at the same distance keep the order of the grid on every machine.
    inner = np.argsort(np.round(x**2 + y**2, 9), kind="stable")[:PIXELS]
    return x[inner], y[inner]


class _Clock:
    """Time stamps and pointing that run on from chunk to chunk."""

    def __init__(self, rng: np.random.Generator, mjd: int) -> None:
        self._rng = rng
        self._mjd = mjd
        self._seconds = _RUN_START * 86_400
        self._start = self._seconds
        self._zenith = rng.uniform(8.0, 32.0)
        self._azimuth = rng.uniform(90.0, 270.0)

    def tick(self, count: int, telescope: str) -> Chunk:
        """The next `count` events; `telescope` is `_1`, `_2`, or empty for files of one."""
        times = self._seconds + np.cumsum(self._rng.exponential(1 / _RATE, count))
        self._seconds = float(times[-1])
        day, of_day = np.divmod(times, 86_400)
        milli = np.floor(of_day * 1e3)
        hours = (times - self._start) / 3_600
        return {
            f"MTime{telescope}.fMjd": (self._mjd + day).astype("u4"),
            f"MTime{telescope}.fTime.fMilliSec": milli.astype("i8"),
            f"MTime{telescope}.fNanoSec": np.floor((of_day * 1e3 - milli) * 1e6).astype("u4"),
            f"MPointingPos{telescope}.fZd": (self._zenith + 12.0 * hours) % 90.0,
            f"MPointingPos{telescope}.fAz": (self._azimuth + 9.0 * hours) % 360.0,
        }


def _crab_flux(energy: Floats) -> Floats:
    """The shape of the Crab Nebula's spectrum: a log-parabola (Aleksić et al. 2015)."""
    tev = energy / 1e3
    return np.asarray(tev ** (-2.47 - 0.24 * np.log10(tev)), dtype=np.float64)


def _acceptance(energy: Floats) -> Floats:
    """Effective area with cuts, relative: half at 75 GeV, so that most events are near 70 GeV."""
    return 1.0 / (1.0 + (energy / 75.0) ** -4)


def _cumulative(rate: Floats) -> Floats:
    """The integral of a rate per energy over the grid, from 0 to 1."""
    total = np.cumsum(rate * np.gradient(_ENERGY_GRID))
    return np.asarray((total - total[0]) / (total[-1] - total[0]), dtype=np.float64)


def _draw_energy(rng: np.random.Generator, cumulative: Floats, count: int) -> Floats:
    drawn = np.interp(rng.random(count), cumulative, np.log(_ENERGY_GRID))
    return np.exp(drawn)


def _hadronness(rng: np.random.Generator, is_gamma: NDArray[np.bool_]) -> Floats:
    """Near 0 for gamma rays; for background flat, with more toward 1."""
    count = len(is_gamma)
    background = np.where(rng.random(count) < 0.6, rng.beta(5.0, 1.0, count), rng.random(count))
    return np.where(is_gamma, rng.beta(1.0, 10.0, count), background)


def _theta2(rng: np.random.Generator, is_gamma: NDArray[np.bool_], true: Floats) -> Array:
    """deg²: an exponential for gamma rays (a Gaussian PSF that narrows with energy), else flat."""
    count = len(is_gamma)
    sigma = np.clip(0.1 * (true / 70.0) ** -0.25, 0.06, 0.1)  # deg
    signal = rng.exponential(1.0, count) * 2 * sigma**2
    theta2 = np.where(is_gamma, signal, rng.uniform(0.0, THETA2_MAX, count))
    return theta2.astype(np.float32)


def _images(rng: np.random.Generator, count: int, x: Floats, y: Floats) -> Array:
    """Photo-electrons, float32 of shape (count, 1039): an ellipse that points to the centre."""
    size = np.minimum(60.0 * (1.0 - rng.random(count)) ** (-1 / 1.3), 5e4)  # photo-electrons
    distance, angle = rng.uniform(0.3, 1.2, count), rng.uniform(0.0, 2 * np.pi, count)
    length = rng.normal(0.18, 0.03, count).clip(0.1) + 0.03 * np.log10(size / 60.0)
    width = 0.45 * length
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along = (x * cos + y * sin - distance[:, None]) / length[:, None]
    across = (y * cos - x * sin) / width[:, None]
    light = np.exp(-(along**2 + across**2) / 2)
    mean = size[:, None] * light / light.sum(axis=1, keepdims=True)
    charge: Array = rng.poisson(mean) + rng.normal(0.0, _NOISE, mean.shape)
    return charge.astype(np.float32)
