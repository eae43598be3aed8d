"""Previews of inference: a picture a class of single-label images with all their scores, made while scores are."""
from __future__ import annotations

import contextlib
import os
from typing import Sequence

import numpy as np

from icd import cli, console, files
from icd.data import geometry, images, superpixel_map
from icd.data.inputs import Inputs
from icd.model.icd_blocks import SuperpixelRefine, apply_sign
from icd.mxnet_setup import mx
from icd.outputs import Input, Outputs, Value
from icd.steps import score_files
from icd.viz import previews

_ROWS = 20      # images a class's preview shows


class Previews:
    """Those of `SNAPSHOT/results/scores_demo/class_C.jpg` that are out of date, and what they are drawn from.

    Parameters
    ----------
    options : Options
        `icd.cli.RUN`. With a `--shard` there are no previews.
    inputs : Inputs
    checksum : str
        Of the weights.

    Attributes
    ----------
    images : dict of int by int
        Class by index: the images whose scores have to be given to `keep`.
    """

    def __init__(self, options: cli.Options, inputs: Inputs, checksum: str):
        self._options, self._inputs, self._stale, self._kept, self.images = options, inputs, {}, {}, {}
        if options.shard:
            return
        self._folder = os.path.join(options.snapshot, 'results', 'scores_demo')
        settings = {'no_superpixel': options.no_superpixel, 'weights': checksum, **score_files.how_seen(options)}
        self._outputs = Outputs(self._folder, 'previews of scores', settings)
        with console.ornament('a preview of scores'):
            self._find_stale()

    def _path(self, c):
        return os.path.join(self._folder, f'class_{c}.jpg')

    def _find_stale(self):
        """Fill `images` and `_stale`: of each class, its images and the identities of their files."""
        single = self._inputs.labels.sum(axis=1) == 1
        for c in range(self._inputs.num_classes):
            shown = np.flatnonzero(single & (self._inputs.labels[:, c] > 0))[:_ROWS].tolist()
            if not shown:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(self._path(c))                        # of images that were shown before
                continue
            names = [self._inputs.names[i] for i in shown]
            made_from = [Value(','.join(names))] + [Input(source) for name in names for source in self._sources(name)]
            if self._options.force or not self._outputs.is_current(f'class_{c}', [self._path(c)], made_from):
                self._stale[c] = shown, [one.identity() for one in made_from]
                self.images.update(dict.fromkeys(shown, c))

    def _sources(self, name):
        """Files that a row is made from."""
        options = self._options
        superpixels = () if options.no_superpixel else (superpixel_map.path(options.superpixel_root, name),)
        return (images.image_path(options.image_root, name), *superpixels)

    def keep(self, i: int, fitted: tuple, scores: Sequence[np.ndarray]):
        """Remember the scores of an image, which are small, until they are drawn.

        Parameters
        ----------
        i : int
            One of `images`.
        fitted : (int, int)
            Height and width of the image in the network's input.
        scores : ndarray (C, h, w) float32, three
            CAM, top-down score, and bottom-up score before its calibration.
        """
        rows, columns = map(geometry.feature_size, fitted)
        self._kept[i] = fitted, [score[self.images[i], :rows, :columns].copy() for score in scores]

    def write(self, state: mx.nd.NDArray):
        """Draw the previews that are out of date.

        Parameters
        ----------
        state : NDArray (C, 2)
            Of the calibration, on the device that computes.
        """
        if not self._stale:
            return
        with self._outputs.writing([f'class_{c}' for c in self._stale]), console.progress(
                total=len(self.images), desc='previews of scores') as bar:
            for c, (shown, identities) in self._stale.items():
                rows = []
                for i in shown:
                    rows.append(self._row(i, state[c:c + 1]))
                    bar.update()
                files.save_image(self._path(c), previews.vstack(rows))
                self._outputs.record(f'class_{c}', identities)

    def _row(self, i, state):
        """Image | CAM | calibrated bottom-up | refined | top-down score of its class."""
        name, (fitted, (cam, top_down, bottom_up)) = self._inputs.names[i], self._kept.pop(i)
        device = state.context
        score = apply_sign(mx.nd.array(bottom_up[None, None], ctx=device), state)
        partition = () if self._options.no_superpixel else self._partition(name, fitted, device)
        refine = SuperpixelRefine(self._options.no_superpixel)
        refined = refine(score, mx.nd.ones((1, 1), ctx=device), *partition)
        image = images.read_image(images.image_path(self._options.image_root, name))
        return previews.row(image, [cam, score[0, 0].asnumpy(), refined[0, 0].asnumpy(), top_down])

    def _partition(self, name, fitted, device):
        """Superpixels (1, h, w) at the network's stride and their numbers."""
        labels = superpixel_map.read(superpixel_map.path(self._options.superpixel_root, name))
        rows, columns = (np.arange(length) * side // length for length, side in zip(fitted, labels.shape))
        sampled = superpixel_map.renumber(superpixel_map.sample(labels[rows[:, None], columns]))
        return (mx.nd.array(sampled[None], ctx=device, dtype='int32'), mx.nd.arange(int(sampled.max()) + 1, ctx=device))
