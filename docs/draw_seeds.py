"""Draw the picture of seeds in README.md, by a network that has not seen the images.

    python docs/draw_seeds.py prepare FOLDER                images, their labels and truth, and the commands that follow
    python docs/draw_seeds.py draw FOLDER SNAPSHOT OUT.jpg  a row an image: image, CAM, ICD score, seed, truth

The images come from scikit-learn (`flower`, by vultilion, CC BY 2.0) and scikit-image (`chelsea`, by Stefan van der
Walt, CC0; `astronaut`, by NASA, public domain). Their truth was drawn by hand, a polygon an object.
"""
import importlib.util
import json
import os
import sys

import cv2
import numpy as np

from icd import files
from icd.data import images, masks, score_map
from icd.viz import previews

SIDE, WIDTH = 321, 260
HEADINGS = 'image', 'CAM', 'ICD score', 'ICD seed', 'truth'
SOURCES = {'flower': ('sklearn', 'datasets/images/flower.jpg'), 'chelsea': ('skimage', 'data/chelsea.png'),
           'astronaut': ('skimage', 'data/astronaut.png')}
CLASSES = ('background', 'cow', 'sheep', 'aeroplane', 'face', 'car', 'bicycle', 'flower', 'sign', 'bird', 'book',
           'chair', 'cat', 'dog', 'body', 'boat')
# Objects by their class: x and y of their corners in the image of SIDE pixels, the first under the others.
OBJECTS = {
    'flower': [('flower', [[154 + 69 * np.cos(angle), 111 + 68 * np.sin(angle)]
                           for angle in np.linspace(0, 2 * np.pi, 60)]),
               ('flower', [(145, 203), (150, 197), (163, 197), (168, 188), (178, 188), (184, 195), (192, 190),
                           (208, 191), (220, 194), (221, 205), (233, 210), (235, 214), (147, 214)])],
    'chelsea': [('cat', [(0, 85), (26, 75), (22, 40), (24, 15), (28, 0), (284, 0), (270, 30), (255, 50), (258, 85),
                         (257, 105), (245, 125), (240, 140), (228, 165), (232, 185), (240, 190), (262, 184), (275, 190),
                         (278, 214), (0, 214)])],
    'astronaut': [('body', [(14, 321), (12, 255), (18, 210), (25, 190), (40, 160), (72, 132), (71, 118), (80, 108),
                            (92, 97), (115, 93), (162, 108), (178, 118), (190, 140), (191, 152), (210, 165), (222, 190),
                            (228, 215), (205, 230), (185, 250), (178, 270), (175, 300), (176, 321)]),
                  ('face', [(97, 45), (100, 32), (112, 22), (125, 14), (145, 9), (160, 14), (175, 22), (185, 38),
                            (189, 52), (186, 68), (178, 82), (168, 85), (163, 98), (160, 117), (140, 118), (118, 114),
                            (116, 98), (114, 82), (105, 74), (97, 62)])]}


def prepare(folder):
    """Write images, labels, list, class names and truth; the commands that make seeds of them."""
    for name, (package, path) in SOURCES.items():
        root = importlib.util.find_spec(package).submodule_search_locations[0]
        image = cv2.imread(os.path.join(root, path))
        scale = SIDE / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        files.save_image(os.path.join(folder, 'images', name + '.jpg'), image, cv2.IMWRITE_JPEG_QUALITY, 95)
        truth = np.zeros(image.shape[:2], np.uint8)
        for label, corners in OBJECTS[name]:
            cv2.fillPoly(truth, [np.round(corners).astype(np.int32)], CLASSES.index(label))
        masks.save_mask(os.path.join(folder, 'truth', name + '.png'), truth)
    labels = {name: sorted({label for label, _ in objects}) for name, objects in OBJECTS.items()}
    for name, text in (('list.txt', '\n'.join(SOURCES)), ('names.txt', '\n'.join(CLASSES[1:])),
                       ('labels.json', json.dumps(labels))):
        files.save_bytes(os.path.join(folder, name), text.encode())
    common = f'--image-root {folder}/images --data-list {folder}/list.txt'
    print(f'makeSuperpixel {folder}/list.txt {folder}/images {folder}/raw 40\n'
          f'python generate_superpixel.py {common} --superpixel-root {folder}/raw --save-superpixel-root '
          f'{folder}/merged --image-size {SIDE}\n'
          f'icd-run --only-infer --snapshot SNAPSHOT {common} --class-names {folder}/names.txt --labels '
          f'{folder}/labels.json --superpixel-root {folder}/merged --infer-size {SIDE}\n'
          'and the same with --only-gen-seeds in place of --only-infer')


def draw(folder, snapshot, path):
    """Draw a row for every image."""
    rows = []
    for name, objects in OBJECTS.items():
        image = images.read_image(os.path.join(folder, 'images', name + '.jpg'))
        count = len({label for label, _ in objects})
        scores = [score_map.at_image_size(score_map.read(score_map.path(snapshot, kind, name), count, SIDE),
                                          image.shape[:2], SIDE) for kind in score_map.KINDS]
        seeds = [masks.read_mask(os.path.join(root, name + '.png'))
                 for root in (os.path.join(snapshot, 'results', 'seeds', 'crf'), os.path.join(folder, 'truth'))]
        rows.append(previews.seed_row(image, scores, seeds, WIDTH))
    rows.insert(0, previews.headings(rows[0].shape[1], HEADINGS))
    files.save_image(path, previews.vstack(rows), cv2.IMWRITE_JPEG_QUALITY, 85)


if __name__ == '__main__':
    commands = {('prepare', 1): prepare, ('draw', 3): draw}
    command = commands.get((sys.argv[1] if sys.argv[1:] else '', len(sys.argv) - 2))
    if command is None:
        sys.exit(__doc__)
    command(*sys.argv[2:])
