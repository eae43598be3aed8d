"""Install with `pip install -e .[cpu]`, or `.[cu117]` for GPUs (see docs/gpus.md)."""
import glob
import os
import re

from setuptools import Extension, find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with open(os.path.join(HERE, name), encoding='utf-8') as file:
        return file.read()


# What libmxnet.so of the CUDA wheels links against: pip alone makes a GPU install, no CUDA toolkit needed.
CUDA_11 = [f'nvidia-{name}-cu11' for name in (
    'cublas', 'cuda-nvrtc', 'cuda-runtime', 'cufft', 'curand', 'cusolver', 'cusparse', 'nccl', 'nvtx')]
CUDA_11.append('nvidia-cudnn-cu11>=8,<9')

ONNX = ['onnx>=1.14', 'onnxruntime>=1.16']

# Contracted multiplications would change the results' bits; what sqrt reports and what traps does not matter, but keeps
# loops from being vectorised.
EXACT = ['-std=c++17', '-O3', '-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math']

# Without it (no compiler, say) icd.method.crf takes pydensecrf. Vectors that are wider than the processor's are never
# passed to a function, so their ABI (psabi) does not matter; GCC's own header of AVX-512 seems not to initialise them.
MEAN_FIELD = Extension(
    'icd.method._mean_field', ['icd/method/mean_field/mean_field.cpp', 'icd/method/mean_field/module.cpp'],
    optional=True, language='c++',
    depends=[f'icd/method/mean_field/{name}.h' for name in ('field', 'lattice', 'mean_field', 'numbering', 'vectors')],
    extra_compile_args=[*EXACT, '-Wno-psabi', '-Wno-maybe-uninitialized'])

# Without it icd.method.merging takes NumPy.
MERGING = Extension('icd.method._merging', ['icd/method/_merging.cpp'], optional=True, language='c++',
                    extra_compile_args=EXACT)

# The core of external/superpixel/makeSuperpixel; its inner loops choose their instruction set when they run.
SUPERPIXEL_CORE = sorted(glob.glob('external/superpixel/src/*.cpp'))
SUPERPIXEL = Extension(
    'icd._superpixel', ['external/superpixel/python/module.cpp'] + SUPERPIXEL_CORE, optional=True, language='c++',
    depends=glob.glob('external/superpixel/src/*.h') + glob.glob('external/superpixel/include/*.h'),
    include_dirs=['external/superpixel/include'], extra_compile_args=EXACT)

setup(
    name='icd-seeds',
    version=re.search(r"__version__ = '(.*)'", read('icd/__init__.py')).group(1),
    description='Intra-Class Discriminator (CVPR 2020) on MXNet: from image labels to pixel-level seeds',
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    license='MIT',
    packages=find_packages(include=['icd', 'icd.*']),
    package_data={'icd.viz': ['*.html', '*.css', '*.js']},
    ext_modules=[MEAN_FIELD, MERGING, SUPERPIXEL],
    python_requires='>=3.8,<3.13',
    install_requires=[
        'defusedxml>=0.7',
        'jinja2>=3',
        'matplotlib>=3.6',
        'numpy>=1.20,<1.27',
        'opencv-python>=4.5,<4.12',
        'pillow>=8',
        'pydensecrf2>=1.0',
        'tqdm>=4.60',
    ],
    extras_require={
        'cpu': ['mxnet==1.9.1'],
        'cu112': ['mxnet-cu112==1.9.1'] + CUDA_11,
        'cu117': ['mxnet-cu117==1.9.1'] + CUDA_11,
        'coco': ['pycocotools>=2.0.6'],
        'keras': ['h5py>=3'],
        'resnet': ['gluoncv>=0.10.4,<0.11'],
        'onnx': ONNX,
        'tensorboard': ['tensorboardX>=2'],
        'dev': ONNX + ['gluoncv>=0.10.4,<0.11', 'h5py>=3', 'hypothesis>=6', 'pycocotools>=2.0.6', 'pytest>=7',
                'pytest-xdist>=3', 'ruff>=0.17,<0.18', 'safetensors>=0.4', 'scipy>=1.5'],
    },
    entry_points={'console_scripts': [
        'icd-pipeline = icd.commands:pipeline',
        'icd-run = icd.commands:run',
        'icd-superpixel = icd.commands:superpixel',
        'icd-seeds = icd.commands:seeds',
        'icd-evaluate = icd.commands:evaluate',
        'icd-audit = icd.commands:audit',
        'icd-watch = icd.commands:watch',
        'icd-weights = icd.commands:weights',
        'icd-labels = icd.commands:labels',
        'icd-masks = icd.commands:masks',
        'icd-segment = icd.commands:segment',
        'icd-export = icd.commands:export',
        'icd-doctor = icd.commands:doctor',
        'icd-launch = icd.commands:launch',
    ]},
)
