"""Other libraries' superpixels, run by `superpixels.py` in an environment of their own.

    _superpixel_peers.py time NAME IMAGE              a run for every line on standard input; prints milliseconds
    _superpixel_peers.py labels NAME NUMBER FROM TO   label maps of all images of a folder; prints what was asked for
"""
import os
import sys
import time

import cv2
import numpy as np

# What to ask for so that the 20 images get as many superpixels as possible, but no more than the key, on average.
ASK_FOR = {
    'fast-slic': {600: 620, 300: 305},
    'opencv-slic': {600: 16, 300: 23},
    'skimage-slic': {600: 700, 300: 350},
}


def fast_slic(number):
    """fast-slic's AVX2 class with its default compactness."""
    from fast_slic.avx2 import SlicAvx2
    # Once more for every image: one that is used again starts from the last image's clusters.
    return lambda image: SlicAvx2(num_components=number, compactness=10, num_threads=1).iterate(image)


def opencv_slic(side):
    """OpenCV's SLIC with its default ruler, after the slight blur and in the colour space that its manual advises."""
    def segment(image):
        lab = cv2.cvtColor(cv2.GaussianBlur(image, (3, 3), 0), cv2.COLOR_BGR2Lab)
        one = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, 10.)
        one.iterate(10)
        one.enforceLabelConnectivity(25)
        return one.getLabels()
    return segment


def skimage_slic(number):
    """scikit-image's SLIC with its default compactness."""
    from skimage.segmentation import slic
    return lambda image: slic(image[..., ::-1], n_segments=number, compactness=10, start_label=0)


def skimage_felzenszwalb(k):
    """The graph method at makeSuperpixel's settings."""
    from skimage.segmentation import felzenszwalb
    return lambda image: felzenszwalb(image[..., ::-1], scale=k, sigma=.8, min_size=k)


PEERS = {'fast-slic': fast_slic, 'opencv-slic': opencv_slic, 'skimage-slic': skimage_slic,
         'skimage-felzenszwalb': skimage_felzenszwalb}


def time_runs(name, path):
    """Serve runs on one image."""
    segment = PEERS[name](ASK_FOR.get(name, {600: 75})[600])
    image = cv2.imread(path)
    for _ in sys.stdin:
        start = time.process_time()
        segment(image)
        print(f'{(time.process_time() - start) * 1e3:.4f}', flush=True)


def write_labels(name, number, source, target):
    """Write label maps as makeSuperpixel does."""
    asked = ASK_FOR[name][int(number)]
    segment = PEERS[name](asked)
    for file in sorted(os.listdir(source)):
        labels = segment(cv2.imread(os.path.join(source, file)))
        labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        encoded = np.stack([labels & 255, labels >> 8 & 255, labels >> 16], axis=2).astype(np.uint8)
        cv2.imwrite(os.path.join(target, os.path.splitext(file)[0] + '.png'), encoded)
    print(asked)


if __name__ == '__main__':
    cv2.setNumThreads(1)
    {'time': time_runs, 'labels': write_labels}[sys.argv[1]](*sys.argv[2:])
