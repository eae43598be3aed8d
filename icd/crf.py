"""Dense conditional random field over a seed, with absent classes taken together exactly.

Fully connected CRF of Krähenbühl and Koltun (NIPS 2011). Classes that a seed does not hold have equal unaries
everywhere, so mean field keeps them equal; m of them can be one label. Its probability is m times that of one of them,
therefore its unary is lowered by log m and the compatibility with itself divided by m.

pydensecrf defines the result and gives it where `icd._mean_field` (icd/mean_field/) is not compiled, which does the
same arithmetic in a third of the time.
"""
import numpy as np
import pydensecrf.densecrf

try:
    from icd import _mean_field
except ImportError:
    _mean_field = None

UNDEFINED = 255
_UNSURE = .1                # a pixel stays undefined when no class is at least this probable
_LEAST = 1e-5               # probabilities are clipped here before the logarithm
# Positions in standard deviations, from which a lattice's coordinates no longer fit into its keys: in pydensecrf's
# 16 bits, and in icd/mean_field/lattice.h. (Of colours half of them, since each coordinate sums up all positions.)
_REACH = {False: 1 << 12, True: 1 << 18}
_BLOCK = 4                  # labels that are filtered at once
_NEVER = 1e4                # energy whose exponential is zero


def _energies(present, num_labels, confidence):
    """Unary energies -log p of every present class and of an absent one, (K + 1, 256): a column a value of a seed.

    Where the seed is undefined all are equal, which is all that counts.
    """
    sure, other = confidence, (1 - confidence) / num_labels
    total = sure + (num_labels - 1) * other
    one, another = -np.log(np.maximum((sure / total, other / total), _LEAST))
    table = np.full((len(present) + 1, 256), another, np.float32)
    table[np.arange(len(present)), present] = one
    return table


def is_compiled():
    """Whether `icd._mean_field` is there; pydensecrf does the same without it, in about three times the time."""
    return _mean_field is not None


def largest_side(gaussian, bilateral):
    """The longest side, in pixels, of the images that these pairwise terms can be computed for.

    Parameters
    ----------
    gaussian, bilateral
        As in `class_probabilities`.

    Returns
    -------
    int
    """
    return int(_REACH[is_compiled()] * min(gaussian[0], bilateral[0]))


def _compiled(image, seed, table, weights, iterations, gaussian, bilateral):
    """Mean-field probabilities (L, H, W) of L labels with unary energies `table` (L, 256) of the seed's values.

    `weights` (L,) times the compatibility of a pairwise term is how much a label attracts itself.
    """
    probability = np.empty((len(weights),) + seed.shape, np.float32)
    _mean_field.infer(image, seed, *seed.shape, np.ascontiguousarray(table.T), np.float32(gaussian[1]) * weights,
                      np.float32(bilateral[2]) * weights, gaussian[0], bilateral[0], bilateral[1], iterations,
                      probability)
    return probability


def _by_library(image, seed, table, weights, iterations, gaussian, bilateral):
    """As `_compiled`, by pydensecrf."""
    field = pydensecrf.densecrf.DenseCRF2D(seed.shape[1], seed.shape[0], len(weights))
    field.setUnaryEnergy(table.take(seed.ravel(), axis=1))
    # A vector of compatibilities is pydensecrf's diagonal matrix; equal labels attract, so it is negative.
    field.addPairwiseGaussian(sxy=gaussian[0], compat=-gaussian[1] * weights)
    field.addPairwiseBilateral(sxy=bilateral[0], srgb=bilateral[1], rgbim=image, compat=-bilateral[2] * weights)
    return np.array(field.inference(iterations), np.float32).reshape((-1,) + seed.shape)


def class_probabilities(image, seed, num_labels, confidence=.5, iterations=10, gaussian=(3, 3), bilateral=(80, 13, 10)):
    """Mean-field probabilities of the classes that a seed holds, and of any one of the others.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
        RGB.
    seed : ndarray (H, W) uint8
        Class of every pixel, 0 is the background; 255 where undefined.
    num_labels : int
        Number of classes, background counted.
    confidence : float
        Probability of the seed's class before normalisation; each other class has `(1 - confidence) / num_labels`,
        and all are equal where the seed is undefined.
    iterations : int
    gaussian : (float, float)
        Standard deviation in pixels and compatibility of the Gaussian pairwise term.
    bilateral : (float, float, float)
        Standard deviations in pixels and in colour levels, and compatibility, of the bilateral pairwise term.

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
        When shapes or types do not fit, the seed holds a class that does not exist, or a standard deviation is too
        small for the image (`largest_side`).
    """
    if image.shape != seed.shape + (3,) or image.dtype != np.uint8 or seed.dtype != np.uint8 or not seed.size:
        raise ValueError('image %s %s and seed %s %s are not an (H, W, 3) and an (H, W) uint8 array' % (
            image.shape, image.dtype, seed.shape, seed.dtype))
    present = np.flatnonzero(np.bincount(seed.ravel(), minlength=256)[:UNDEFINED]).astype(np.uint8)
    if (present >= num_labels).any():
        raise ValueError('the seed holds class %d of %d' % (present.max(), num_labels))
    if max(seed.shape) > largest_side(gaussian, bilateral) or 2 * 255 > _REACH[is_compiled()] * bilateral[1]:
        raise ValueError('standard deviations %s and %s are too small for an image %s' % (
            gaussian[:1], bilateral[:2], seed.shape))
    table, num_absent = _energies(present, num_labels, confidence), num_labels - len(present)

    if num_absent:
        table[-1] -= np.float32(np.log(num_absent))
        weights = np.append(np.ones(len(present), np.float32), np.float32(1 / num_absent))
    else:
        table, weights = table[:-1], np.ones(len(present), np.float32)
    # Labels that never occur fill the block up: they change nothing.
    idle = -len(weights) % _BLOCK
    table = np.concatenate([table, np.full((idle, 256), _NEVER, np.float32)])
    weights = np.concatenate([weights, np.zeros(idle, np.float32)])

    infer = _by_library if _mean_field is None else _compiled
    probability = infer(np.ascontiguousarray(image), np.ascontiguousarray(seed), table, weights, iterations, gaussian,
                        bilateral)[:len(present) + 1]
    if num_absent:
        probability[-1] /= num_absent
    else:
        probability = np.concatenate([probability[:len(present)], np.zeros((1,) + seed.shape, np.float32)])
    return present, probability


def dense_crf(image, seed, num_labels, confidence=.5, iterations=10, gaussian=(3, 3), bilateral=(80, 13, 10)):
    """Refine a seed along the edges of its photograph.

    Parameters
    ----------
    image, seed, num_labels, confidence, iterations, gaussian, bilateral
        As in `class_probabilities`.

    Returns
    -------
    ndarray (H, W) uint8
        The most probable class; 255 where its probability is below 0.1, or a class that the seed does not hold at
        all is the most probable.

    References
    ----------
    P. Krähenbühl, V. Koltun: Efficient inference in fully connected CRFs with Gaussian edge potentials. NIPS 2011.
    """
    present, probability = class_probabilities(image, seed, num_labels, confidence, iterations, gaussian, bilateral)
    # Pixel by pixel in memory, so a label at a time is faster than NumPy's argmax and max over the first axis.
    best, label = probability[0], np.zeros(seed.shape, np.uint8)
    for number, one in enumerate(probability[1:], 1):
        label[one > best] = number
        best = np.maximum(best, one)
    label = np.append(present, np.uint8(UNDEFINED))[label]
    label[best < _UNSURE] = UNDEFINED
    return label
