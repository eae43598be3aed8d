"""The layout of the code: which module may import which, and what no file does."""
import ast
import glob
import os
import subprocess
import sys

import pytest

from tests.helpers import PROJECT

# Room (a folder of `icd`, or a module next to the folders): what its modules may import of the others.
ARROWS = {
    'errors': '',
    'commands': '',
    'cpu_quota': '',
    'lines': '',
    'superpixels': 'errors',
    'system_errors': 'errors',
    'files': 'console errors lines system_errors',
    'gpu': 'errors',
    'gpu_memory': 'errors',
    'precision': 'errors',
    'console': 'errors system_errors',
    'cli': 'console option_types precision',
    'shards': '',
    'option_types': 'shards weights.source_input',
    'weights_options': 'cli option_types',
    'segment_options': 'cli evaluate_options option_types',
    'maps_options': 'cli option_types',
    'pipeline_options': 'cli option_types',
    'doctor_options': 'cli option_types',
    'audit_options': 'cli option_types',
    'demo_options': 'cli option_types',
    'evaluate_options': 'cli option_types',
    'watch_options': 'cli option_types',
    'option_page': 'audit_options cli doctor_options evaluate_options maps_options pipeline_options segment_options '
                   'watch_options weights_options',
    'plan': 'data gpu_memory',
    'speed': 'mxnet_setup precision',
    'parallel': 'console cpu_quota errors',
    'mxnet_setup': 'console errors gpu gpu_memory parallel',
    'records': 'files lines shards',
    'outputs': 'console errors files lines records shards',
    'checks': 'data.images errors files',
    'counting': 'console data errors files method.image_counts method.metrics parallel',
    'data': 'checks console errors files lines mxnet_setup parallel shards',
    'method': 'data.geometry errors',
    'model': 'data.geometry errors method.multi_scale mxnet_setup precision',
    'weights': 'console data errors files model mxnet_setup',
    'doctor': 'cpu_quota data errors files gpu gpu_memory model mxnet_setup parallel plan precision speed superpixels '
              'train weights',
    'onnx_predict': 'data errors parallel',
    'predict': 'errors mxnet_setup',
    'viz': 'console data errors files method.calibration',
    'live': 'data errors files outputs records system_errors viz',
    'train': 'console data errors files gpu_memory method model mxnet_setup precision viz weights',
    'steps': 'audit_options checks cli console counting data doctor doctor_options errors evaluate_options files gpu '
             'gpu_memory live maps_options method model mxnet_setup onnx_predict option_types outputs parallel '
             'pipeline_options plan precision predict segment_options shards speed superpixels train viz '
             'watch_options weights weights_options',
    'demo': 'cli console data demo_options errors evaluate_options files model mxnet_setup outputs parallel '
            'segment_options steps superpixels train viz weights',
}
OPEN_NO_FILE = 'model', 'method'
# What imports MXNet when it is imported; everything else works without.
NEED_MXNET = ('icd.mxnet_setup', 'icd.speed', 'icd.data.loader', 'icd.model.', 'icd.weights.', 'icd.predict',
              'icd.train.', 'icd.demo.', 'icd.doctor.', 'icd.steps.train', 'icd.steps.infer', 'icd.steps.mxnet_scores',
              'icd.steps.validation')
NEED_NO_MXNET = {'icd.demo.__main__', 'icd.demo.creatures', 'icd.demo.dataset', 'icd.demo.figures',
                 'icd.demo.picture', 'icd.doctor.machine', 'icd.doctor.result', 'icd.steps.infer_onnx',
                 'icd.steps.run', 'icd.train.margins', 'icd.train.schedule', 'icd.train.launch',
                 'icd.train.distributed', 'icd.weights.onnx_export', 'icd.weights.trained'}
NEED_NO_MXNET |= {f'icd.weights.{name}' for name in (
    'converted', 'formats', 'keras_file', 'mxnet_params', 'npz_file', 'onnx_file', 'pretrained', 'safetensors_file',
    'source_input', 'torch_file', 'vgg16', 'vgg16_layers', 'zip_archive')}
LONGEST = 320               # lines of a file
OPTIONS_IN = 'cli', 'steps', 'demo'     # rooms that may know the namespace of all options


def module_files():
    """Path of every module of the package by its name."""
    found = {}
    for path in glob.glob(os.path.join(PROJECT, 'icd', '**', '*.py'), recursive=True):
        name = os.path.relpath(path, PROJECT)[:-len('.py')].replace(os.sep, '.')
        found[name[:-len('.__init__')] if name.endswith('.__init__') else name] = path
    return found


def parse(path):
    with open(path, encoding='utf-8') as file:
        return ast.parse(file.read())


FILES = module_files()
TREES = {name: parse(path) for name, path in FILES.items()}


FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def outside_functions(tree):
    """The nodes of a tree without what is inside functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, FUNCTIONS):
            yield node
            yield from outside_functions(node)


def imports(nodes):
    """Full names of what some nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, 'relative import'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def module_of(name):
    """The module of the package that an imported name belongs to, or None."""
    while name and name not in FILES:
        name = name.rpartition('.')[0]
    return name or None


def package_imports(nodes):
    return {module_of(name) for name in imports(nodes)} - {None, 'icd'}


def in_functions(tree):
    """The nodes inside all functions of a tree."""
    return [node for function in functions(tree) for node in ast.walk(function)]


EVERY = {name: package_imports(ast.walk(tree)) for name, tree in TREES.items()}
AT_IMPORT = {name: package_imports(outside_functions(tree)) for name, tree in TREES.items()}


def reachable(name, edges):
    found, waiting = set(), [name]
    while waiting:
        new = edges[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def needs_mxnet(name):
    return name == 'icd.mxnet_setup' or 'icd.mxnet_setup' in reachable(name, AT_IMPORT)


FREE = sorted(name for name in FILES if name in NEED_NO_MXNET or not (name + '.').startswith(NEED_MXNET))


def room(name):
    return name.split('.')[1]


def test_the_rooms_import_each_other_in_one_direction():
    wrong = set()
    for name, targets in EVERY.items():
        allowed = ARROWS[room(name)].split() if name != 'icd' else []
        wrong |= {(room(name), room(target)) for target in targets
                  if room(target) != room(name) and room(target) not in allowed and target[len('icd.'):] not in allowed}
    assert wrong == set()


def test_modules_do_not_import_each_other_in_a_circle():
    assert [name for name in FILES if name in reachable(name, EVERY)] == []


def test_only_mxnet_setup_imports_mxnet():
    assert [name for name, tree in TREES.items()
            if any(target.split('.')[0] == 'mxnet' for target in imports(ast.walk(tree)))] == ['icd.mxnet_setup']


def test_functions_import_only_mxnet_and_optional_packages():
    """What takes seconds to import (MXNet, GluonCV, Matplotlib) or is not installed everywhere, where it is needed."""
    for name, tree in TREES.items():
        inside = in_functions(tree)
        outside = {target.split('.')[0] for target in imports(inside)} - {'icd'}
        assert outside <= {'gluoncv', 'h5py', 'matplotlib', 'onnx', 'onnxruntime', 'pycocotools', 'tensorboardX'}, name
        assert all(map(needs_mxnet, package_imports(inside))), name


@pytest.mark.parametrize('name', FREE)
def test_modules_that_need_no_mxnet_do_not_import_it(name):
    assert not needs_mxnet(name)


def test_model_and_method_open_no_file():
    for name, tree in TREES.items():
        if name != 'icd' and room(name) in OPEN_NO_FILE:
            roots = {target.split('.')[0] for target in imports(ast.walk(tree))}
            assert not roots & {'os', 'io', 'pathlib', 'shutil'}, name
            called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and
                      isinstance(node.func, ast.Name)}
            assert 'open' not in called, name


def test_options_stay_in_steps():
    def takes_options(function):
        arguments = function.args
        return 'options' in [each.arg for each in arguments.args + arguments.kwonlyargs + arguments.posonlyargs]
    assert {name for name, tree in TREES.items() if name != 'icd' and room(name) not in OPTIONS_IN and
            any(map(takes_options, functions(tree)))} == set()


def test_no_file_is_too_long():
    long = set()
    for pattern in ('icd/**/*', 'external/superpixel/**/*'):
        for path in glob.glob(os.path.join(PROJECT, pattern), recursive=True):
            if path.endswith(('.py', '.cpp', '.h')):
                with open(path, encoding='utf-8') as file:
                    if len(file.readlines()) > LONGEST:
                        long.add(os.path.relpath(path, PROJECT))
    assert long == set()


IMPORT_ALL = '''
import importlib, os, sys
import cv2, matplotlib, numpy, PIL.Image, tqdm          # what these change is not the package's doing
sys.modules['mxnet'] = None                             # an import fails


def state():
    # Submodules of NumPy become its attributes when anybody imports them.
    return ({name: id(value) for name, value in vars(numpy).items() if type(value) is not type(numpy)},
            list(sys.meta_path), list(sys.path_hooks), dict(os.environ))


before = state()
for name in sys.argv[1:]:
    importlib.import_module(name)
    if state() != before:
        sys.exit(name + ' changes the process that imports it')
'''


def test_importing_changes_nothing():
    done = subprocess.run([sys.executable, '-c', IMPORT_ALL, 'icd'] + FREE, stderr=subprocess.PIPE, text=True,
                          env=dict(os.environ, PYTHONPATH=PROJECT), cwd=os.sep)
    assert done.returncode == 0, done.stderr
