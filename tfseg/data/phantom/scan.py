"""Simulated B-mode frames: from maps of tissue to the grey levels that a scanner shows.

Speckle is what makes ultrasound look like ultrasound: the sum of many scatterers within one resolution cell is a
circular complex Gaussian number, so the envelope of homogeneous tissue is Rayleigh distributed with a mean of 1.91
standard deviations (Burckhardt, IEEE Trans. Sonics Ultrason. 25(1), 1978; Wagner et al., ibid. 30(3), 1983). We draw
such scatterers, weigh them with the tissue, convolve with a point-spread function, attenuate along the beams and
compress the logarithm.

Departures from physics, all for speed: the convolution is done at baseband (the phase of a circular scatterer hides
the carrier, so the pulse is a Gaussian without its oscillation); the point-spread function is separable and Gaussian;
there is no diffraction, refraction, multiple scattering or elevation. Field II (Jensen, Med. Biol. Eng. Comput.
34(1), 1996), which computes the acoustic field of a real transducer, is what we do not do.
"""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np

from tfseg.data.phantom.grid import Grid, Pose

_BANDS = 14  # depth bands of constant beam width; neighbours differ by less than a tenth, which nobody can see


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """What the sound meets: three float32 maps of equal shape (rows go deeper).

    Attributes:
        power: backscattered power of diffuse scatterers; 1 is muscle, 0 is fluid.
        specular: amplitude of smooth interfaces (fascia, bone), which reflect coherently.
        attenuation: loss on the way there and back, in dB over the whole depth of the image.
    """

    power: np.ndarray
    specular: np.ndarray
    attenuation: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """The settings of a scanner; lengths are in samples (down) and beams (across) of the scan grid.

    Attributes:
        pulse: standard deviation of the pulse along the beam.
        beam: standard deviation of the beam across, at the focus.
        focus: depth of the focus as a share of the image's depth.
        looks: independent speckle patterns averaged (spatial compounding); 1 leaves fully developed speckle.
        gain_db: added to every level.
        tgc_db: time-gain compensation at equidistant depths from top to bottom: it meets the attenuation only roughly.
        noise_db: electronic noise before the time-gain compensation, against muscle.
        range_db: dynamic range of the display.
        smoothing: standard deviation of the filter that takes the edge off the compressed speckle.
    """

    pulse: float = 1.4
    beam: float = 1.5
    focus: float = 0.45
    looks: int = 1
    gain_db: float = 0.0
    tgc_db: tuple[float, ...] = (0.0, 0.0)
    noise_db: float = -65.0
    range_db: float = 55.0
    smoothing: float = 0.7


def view(tissue: Tissue, grid: Grid, pose: Pose) -> Tissue:
    """Return the tissue under the probe, sampled along its scan lines: maps of (SAMPLES, BEAMS)."""
    (a, b, c), (d, e, f) = pose.matrix(grid.shape).astype(np.float32)
    x, y = a * grid.x + b * grid.y + c, d * grid.x + e * grid.y + f
    maps = [cv2.remap(m, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for m in vars(tissue).values()]
    return Tissue(**dict(zip(vars(tissue), maps, strict=True)))


def scatterers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw circular complex Gaussian scatterers of unit power: float32 (*shape, 2), real and imaginary part."""
    return rng.standard_normal((*shape, 2), dtype=np.float32) * np.float32(math.sqrt(0.5))


def envelope(tissue: Tissue, field: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return the envelope that the probe receives, before attenuation: float32 like the maps of `tissue`.

    Args:
        tissue: on the scan grid.
        field: scatterers, float32 (looks, *tissue.power.shape, 2).
        scanner: its pulse, beam, focus and looks matter here.

    Raises:
        ValueError: the field has not one layer per look.
    """
    if field.shape != (scanner.looks, *tissue.power.shape, 2):
        raise ValueError(
            f"scatterers of shape {field.shape} for {scanner.looks} looks at tissue of {tissue.power.shape}"
        )
    amplitude = np.sqrt(tissue.power)[..., None]
    received = np.zeros(tissue.power.shape, np.float32)
    for look in field:
        echo = look * amplitude
        echo[..., 0] += tissue.specular
        received += cv2.magnitude(*cv2.split(_spread(echo, scanner)))
    return received / scanner.looks


def _spread(echo: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Convolve (SAMPLES, BEAMS, 2) with the point-spread function, whose energy is 1: speckle keeps its power."""
    pulse = _bell(scanner.pulse)
    spread = np.empty_like(echo)
    echo = cv2.sepFilter2D(echo, -1, np.ones(1), pulse, borderType=cv2.BORDER_REFLECT)
    edges = np.linspace(0, len(echo), _BANDS + 1).astype(int)
    for top, bottom in itertools.pairwise(edges):
        depth = (top + bottom) / 2 / len(echo)
        width = scanner.beam * math.hypot(1, (depth - scanner.focus) / 0.4)  # a Gaussian beam, Rayleigh length 0.4
        spread[top:bottom] = cv2.sepFilter2D(
            echo[top:bottom], -1, _bell(width), np.ones(1), borderType=cv2.BORDER_REFLECT
        )
    return spread


def _bell(sigma: float) -> np.ndarray:
    """A Gaussian kernel with the sum of its squares 1."""
    reach = math.ceil(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return kernel / np.linalg.norm(kernel)


def losses(tissue: Tissue, scanner: Scanner) -> tuple[np.ndarray, np.ndarray]:
    """Return what the sound lost on its way, (SAMPLES, BEAMS), and what the amplifier adds, (SAMPLES, 1), both in dB.

    The loss is the sum of the attenuation above, so bone throws a shadow and fluid leaves its far side too bright.
    """
    samples = len(tissue.attenuation)
    lost = np.cumsum(tissue.attenuation, axis=0, dtype=np.float32) / samples
    lost = cv2.GaussianBlur(lost, (0, 0), sigmaX=1.5 * scanner.beam, sigmaY=0.5)  # a beam is as wide as its aperture
    knobs = np.linspace(0, 1, len(scanner.tgc_db))
    added = np.interp(np.linspace(0, 1, samples), knobs, scanner.tgc_db).astype(np.float32)
    return lost, added[:, None]


def scan(tissue: Tissue, grid: Grid, scanner: Scanner, *, field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the B-mode frame of the tissue on the scan grid: uint8 (H, W); black outside the fan.

    Args:
        tissue: on the scan grid, as `view` gives it.
        grid: where the scan lines run.
        scanner: the settings.
        field: the scatterers, float32 (looks, SAMPLES, BEAMS, 2).
        rng: draws the electronic noise.
    """
    lost, added = losses(tissue, scanner)
    received = envelope(tissue, field, scanner) * np.power(10, -lost / 20)
    noise = scatterers(rng, received.shape) * 10 ** (scanner.noise_db / 20)
    received = cv2.magnitude(received + noise[..., 0], np.ascontiguousarray(noise[..., 1]))
    return compress(received * np.power(10, added / 20), grid, scanner)


def compress(received: np.ndarray, grid: Grid, scanner: Scanner) -> np.ndarray:
    """Compress an envelope (SAMPLES, BEAMS) to grey levels and convert its scan lines to an image: uint8 (H, W).

    The level of muscle, an envelope of 1, lies in the middle of the dynamic range at a gain of 0 dB.
    """
    level = 20 * np.log10(np.maximum(received, 1e-6)) + scanner.gain_db
    level = cv2.GaussianBlur(level, (0, 0), sigmaX=scanner.smoothing, sigmaY=scanner.smoothing)
    grey = np.clip(level / scanner.range_db + 0.5, 0, 1).astype(np.float32) * 255
    if grid.beams is None or grid.samples is None:
        image = cv2.resize(grey, grid.shape[::-1], interpolation=cv2.INTER_CUBIC)
    else:
        image = cv2.remap(grey, grid.beams, grid.samples, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8) * grid.seen
