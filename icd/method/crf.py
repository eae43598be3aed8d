"""Dense conditional random field: per-pixel scores or a seed, refined along the edges of the image.

Fully connected CRF of Krähenbühl and Koltun (NIPS 2011). `dense_crf` takes a unary per pixel and label, from a
network's scores or from `seed_unary`. `refine_seed` takes a seed and gives one; absent classes are taken together
exactly there: they have equal unaries everywhere, so mean field keeps them equal and m of them can be one label. Its
probability is m times that of one of them, therefore its unary is lowered by log m and its attraction to itself divided
by m.

What computes mean field, and how fast, stands in `icd.method.mean_field`.
"""
from __future__ import annotations

import numpy as np

from icd.data.geometry import IGNORE
from icd.method import mean_field

_LEAST_PROBABLE = .1        # a pixel becomes undefined when no class is at least this probable
_LEAST = 1e-5               # probabilities are clipped here before the logarithm


def is_compiled() -> bool:
    """Whether `icd.method._mean_field` is there; without it pydensecrf does the same in about five times the time."""
    return 'compiled' in mean_field.BACKENDS


def largest_side(gaussian: tuple[float, float], bilateral: tuple[float, float, float], *,
                 backend: str | None = None) -> int:
    """The longest side, in pixels, of the images that these pairwise terms can be computed for.

    Parameters
    ----------
    gaussian, bilateral, backend
        As in `dense_crf`.

    Returns
    -------
    int
    """
    return int(mean_field.backend(backend).reach * min(gaussian[0], bilateral[0]))


# --------------------------------------------------------------------------------------------- per-pixel unaries
def _check_unary(unary, size):
    """ValueError for what are no energies of the pixels of an image."""
    if unary.ndim != 3 or unary.shape[1:] != size or not unary.size:
        raise ValueError(f'image of {size} and unary {unary.shape} do not fit: (H, W, 3) and (L, H, W), none of them 0')
    if unary.dtype != np.float32:
        raise ValueError(f'unary is {unary.dtype}: it has to be float32')
    if not all(np.isfinite(energies).all() for energies in unary):      # one label at a time: little memory
        raise ValueError('unary is not finite everywhere: clip probabilities before the logarithm')


def _check_field(image, size, iterations, gaussian, bilateral, backend):
    """ValueError for an image or parameters that `dense_crf` cannot compute with; `size` is that of its unaries."""
    if image.shape != size + (3,) or image.dtype != np.uint8:
        raise ValueError(f'image {image.shape} {image.dtype} and labels of {size} do not fit: {size + (3,)} uint8')
    if iterations < 0:
        raise ValueError(f'{iterations} iterations')
    if (len(gaussian), len(bilateral)) != (2, 3) or not np.isfinite(np.float32([*gaussian, *bilateral])).all():
        raise ValueError(f'gaussian {gaussian} and bilateral {bilateral} have to be 2 and 3 finite numbers')
    side, reach = max(size), mean_field.backend(backend).reach
    if side > largest_side(gaussian, bilateral, backend=backend) or 2 * 255 > reach * bilateral[1]:
        raise ValueError(f'standard deviations {gaussian[0]} and {bilateral[:2]} are too small for an image with '
                         f'a side of {side} pixels')


def dense_crf(image: np.ndarray, unary: np.ndarray, iterations: int = 10, gaussian: tuple[float, float] = (3, 3),
              bilateral: tuple[float, float, float] = (80, 13, 10), *, backend: str | None = None) -> np.ndarray:
    """Mean-field probabilities of every label at every pixel.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
        RGB, no mean subtracted.
    unary : ndarray (L, H, W) float32
        Energies −log p of L labels, natural logarithm. Only differences between the labels of a pixel count: the
        negative logits of a network serve as they are. Divide them by a temperature above 1 when the network is
        overconfident.
    iterations : int
        The time grows with it. 1 follows strong edges, 5 to 10 have converged.
    gaussian : (float, float)
        Standard deviation in pixels, and compatibility (an energy), of the term by which near pixels attract each
        other whatever their colour. It removes single pixels: 1 to 3 pixels, no wider than what has to survive;
        compatibility 0 leaves the term out.
    bilateral : (float, float, float)
        Standard deviations in pixels and in colour levels (of 255), and compatibility, of the term by which near
        pixels of similar colour do. In pixels: how far a region's labels reach, 30 to 120, about a fifth of the image.
        In levels: 3 to 5 stops at weak edges and trusts the scores, 10 to 20 bridges texture and noise. Compatibility:
        about 4 for a network's scores, about 10 for seeds, which are rougher. The published values for DeepLab with
        VGG16 are (121, 5, 4), for seeds of ICD the defaults.
    backend : {'compiled', 'pydensecrf'}, optional
        What computes it; by default the fastest that is installed. Probabilities differ by less than 1e-5.

    Returns
    -------
    ndarray (L, H, W) float32
        Probabilities, which sum to 1 over the labels. Compiled, it takes 2.5 times the memory of `unary` and 100 bytes
        a pixel, the result included.

    Raises
    ------
    ValueError
        When shapes or types do not fit, a number is not finite, a standard deviation is too small for the image
        (`largest_side`), or the back end is not installed.

    References
    ----------
    P. Krähenbühl, V. Koltun: Efficient inference in fully connected CRFs with Gaussian edge potentials. NIPS 2011.

    Examples
    --------
    Two surfaces that meet in the middle, and scores that know the left and the right border only:

    >>> import numpy as np
    >>> image = np.zeros((4, 8, 3), np.uint8)
    >>> image[:, 4:] = 255
    >>> scores = np.zeros((2, 4, 8), np.float32)
    >>> scores[0, :, 0] = scores[1, :, 7] = 1
    >>> dense_crf(image, -scores).argmax(0)[0]
    array([0, 0, 0, 0, 1, 1, 1, 1])
    """
    _check_unary(unary, image.shape[:2])
    _check_field(image, unary.shape[1:], iterations, gaussian, bilateral, backend)
    infer = mean_field.backend(backend).infer
    return infer(np.ascontiguousarray(image), np.ascontiguousarray(unary), None, np.ones(len(unary), np.float32),
                 iterations, gaussian, bilateral)


# ---------------------------------------------------------------------------------------------------------- seeds
def _check_seed(seed, num_labels, confidence):
    """ValueError for what is no seed; the classes in it, (K,) uint8, ascending."""
    if seed.ndim != 2 or seed.dtype != np.uint8 or not seed.size:
        raise ValueError(f'seed {seed.shape} {seed.dtype} is not an (H, W) uint8 array')
    if not 1 <= num_labels <= IGNORE or not 0 <= confidence <= 1:
        raise ValueError(f'{num_labels} labels and confidence {confidence}: 1 to {IGNORE} and 0 to 1 are possible')
    present = np.flatnonzero(np.bincount(seed.ravel(), minlength=256)[:IGNORE]).astype(np.uint8)
    if (present >= num_labels).any():
        raise ValueError(f'the seed holds class {present.max()} of {num_labels}')
    return present


def _energies(classes, num_labels, confidence):
    """Unary energies −log p of `classes` and of one that the seed does not hold, (len(classes) + 1, 256): a column a
    value of the seed."""
    other = (1 - confidence) / num_labels
    total = confidence + (num_labels - 1) * other
    same, another = -np.log(np.maximum((confidence / total, other / total), _LEAST))
    table = np.full((len(classes) + 1, 256), another, np.float32)
    table[np.arange(len(classes)), classes] = same
    return table


def seed_unary(seed: np.ndarray, num_labels: int, confidence: float = .5) -> np.ndarray:
    """Unary energies of a seed, for `dense_crf`.

    Parameters
    ----------
    seed : ndarray (H, W) uint8
        Class of every pixel, 0 is the background; 255 where undefined.
    num_labels : int
        Number of classes, background counted; 255 at most.
    confidence : float
        Probability, 0 to 1, of the seed's class before normalisation; each other class has
        `(1 - confidence) / num_labels`. Higher for seeds that are right more often: fewer pixels change then.

    Returns
    -------
    ndarray (num_labels, H, W) float32
        −log p, at most −log 1e-5. Equal for all labels where the seed is undefined.

    Raises
    ------
    ValueError
        When the seed is none or holds a class that does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(-seed_unary(np.uint8([[0, 1]]), num_labels=2, confidence=.5))[:, 0].round(2)
    array([[0.67, 0.33],
           [0.33, 0.67]], dtype=float32)
    """
    _check_seed(seed, num_labels, confidence)
    return _energies(np.arange(num_labels), num_labels, confidence)[:-1].take(seed, axis=1)


def seed_probabilities(image: np.ndarray, seed: np.ndarray, num_labels: int, confidence: float = .5,
                       iterations: int = 10, gaussian: tuple[float, float] = (3, 3),
                       bilateral: tuple[float, float, float] = (80, 13, 10), *,
                       backend: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean-field probabilities of the classes that a seed holds, and of any one of the others.

    Those of `dense_crf(image, seed_unary(seed, num_labels, confidence), ...)` in a fraction of the time.

    Parameters
    ----------
    image, iterations, gaussian, bilateral, backend
        As in `dense_crf`.
    seed, num_labels, confidence
        As in `seed_unary`.

    Returns
    -------
    present : ndarray (K,) uint8
        The classes in `seed`, ascending.
    probability : ndarray (K + 1, H, W) float32
        Of each present class, and of each single absent one: with the last counted `num_labels - K` times, they sum
        to 1. The last is 0 when no class is absent.

    Raises
    ------
    ValueError
        As `dense_crf` and `seed_unary`.
    """
    present = _check_seed(seed, num_labels, confidence)
    table, weights = _energies(present, num_labels, confidence), np.ones(len(present) + 1, np.float32)
    num_absent = num_labels - len(present)
    if num_absent:
        table[-1] -= np.float32(np.log(num_absent))
        weights[-1] = 1 / num_absent
    else:
        table, weights = table[:-1], weights[:-1]
    _check_field(image, seed.shape, iterations, gaussian, bilateral, backend)
    infer = mean_field.backend(backend).infer
    probability = infer(np.ascontiguousarray(image), table, np.ascontiguousarray(seed), weights, iterations, gaussian,
                        bilateral)
    if num_absent:
        probability[-1] /= num_absent
    else:
        probability = np.concatenate([probability, np.zeros((1,) + seed.shape, np.float32)])
    return present, probability


def refine_seed(image: np.ndarray, seed: np.ndarray, num_labels: int, confidence: float = .5, iterations: int = 10,
                gaussian: tuple[float, float] = (3, 3), bilateral: tuple[float, float, float] = (80, 13, 10), *,
                backend: str | None = None) -> np.ndarray:
    """Refine a seed along the edges of its image.

    Parameters
    ----------
    image, seed, num_labels, confidence, iterations, gaussian, bilateral, backend
        As in `seed_probabilities`.

    Returns
    -------
    ndarray (H, W) uint8
        The most probable class; 255 where its probability is below 0.1, or a class that the seed does not hold at
        all is the most probable.

    Raises
    ------
    ValueError
        As `seed_probabilities`.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((4, 8, 3), np.uint8)
    >>> image[:, 4:] = 255
    >>> seed = np.full((4, 8), 255, np.uint8)
    >>> seed[:, 0], seed[:, 7] = 0, 15
    >>> refine_seed(image, seed, num_labels=21)[0]
    array([ 0,  0,  0,  0, 15, 15, 15, 15], dtype=uint8)
    """
    present, probability = seed_probabilities(image, seed, num_labels, confidence, iterations, gaussian, bilateral,
                                              backend=backend)
    # Labels are planes in memory, so one at a time is faster than NumPy's argmax and max over the first axis.
    best, label = probability[0], np.zeros(seed.shape, np.uint8)
    for number, one in enumerate(probability[1:], 1):
        label[one > best] = number
        best = np.maximum(best, one)
    label = np.append(present, np.uint8(IGNORE))[label]
    label[best < _LEAST_PROBABLE] = IGNORE
    return label
