import shlex

import pytest

from icd import cli
from icd.errors import UserError
from icd.evaluate_options import EVALUATE

# Names and defaults of the original's command lines.
ORIGINAL_RUN = {
    '--superpixel-root': './data/superpixels/voc_superpixels', '--saliency-root': './data/saliency/saliency_aug',
    '--data-list': './data/VOC2012/train_aug.txt', '--model': 'vgg16_icd',
    '--pretrained': './data/pretrained/vgg16_20M.params', '--num-cls': None, '--image-size': 321, '--batch-size': 32,
    '--learning-rate': 1e-3, '--num-epoch': 20, '--begin-epoch': 0, '--num-sample': 0, '--snapshot': './snapshot/icd',
    '--num-save': 5, '--use-sal': False, '--only-gen-seeds': False}
ORIGINAL_SUPERPIXEL = {
    '--superpixel-root': './external/superpixel/data/VOC', '--data-list': './data/VOC2012/train_aug.txt',
    '--pretrained': './data/pretrained/vgg16_20M.params', '--batch-size': 4, '--image-size': 513,
    '--save-feature-root': './data/cache/features', '--save-superpixel-root': './data/superpixels/voc_superpixels',
    '--max-superpixel-num': 64}


@pytest.mark.parametrize('groups, original', [(cli.RUN, ORIGINAL_RUN), (cli.SUPERPIXEL, ORIGINAL_SUPERPIXEL)])
def test_defaults_are_the_originals(groups, original):
    parsed = cli.parse(groups, 'command', '', [])
    assert {flag: getattr(parsed, flag[2:].replace('-', '_')) for flag in original} == original


def test_the_originals_command_line_is_understood():
    parsed = cli.parse(cli.RUN, 'run_icd.py', '', [
        '--gpus', '0,1', '--image-root', 'a', '--annotation-root', 'b', '--saliency-root', 'c', '--log-frequency', '7',
        '--use-sal', '--only-gen-seeds'])
    assert (parsed.gpus, parsed.image_root, parsed.log_frequency, parsed.use_sal) == ('0,1', 'a', 7, True)


@pytest.mark.parametrize('arguments, complaint', [
    (['--image-size', '320'], 'use 313 or 321'),
    (['--batch-size', '0'], 'whole number >= 1'),
    (['--batch-size', 'many'], "'many'"),
    (['--learning-rate', 'nan'], '> 0'),
    (['--learning-rate', 'inf'], '> 0'),
    (['--confidence', '1.5'], '<= 1'),
    (['--seeds', 'crf,best'], 'crf, sal, raw'),
    (['--crf-bilateral', '80,13'], '3 numbers'),
    (['--crf-bilateral', '80,.5,10'], "'.5' is not a number >= 1"),
    (['--crf-gaussian', '3,0'], "'0' is not a number > 0"),
    (['--image-roo', 'x'], 'unrecognized'),
    (['--snapshot', ''], 'not a path'),
    (['--model', 'exp1/vgg'], "'exp1/vgg' is not a plain name"),
    (['--model', '../vgg'], 'no folders'),
    (['--model', '.vgg'], 'not a plain name'),
    (['--model', ''], 'not a plain name'),
    (['--model', 'a\nb'], 'not a plain name'),
    (['--model', 'a' * 101], 'not a plain name'),
    (['--num-cls', '300'], '<= 254'),
    (['--infer-scales', '1,1.0'], 'different'),
    (['--infer-scales', '0'], '>= 0.1'),
])
def test_a_wrong_option_is_named_in_one_line(arguments, complaint):
    with pytest.raises(UserError) as caught:
        cli.parse(cli.RUN, 'run_icd.py', '', arguments)
    assert complaint in str(caught.value) and '\n' not in str(caught.value)


def test_the_help_shows_defaults_as_they_are_typed():
    run, evaluate = (' '.join(cli.parser(table, '', '').format_help().split()) for table in (cli.RUN, EVALUATE))
    assert '--crf-bilateral' in run and 'term (default: 80,13,10)' in run and 'comma (default: scale,mirror)' in run
    assert evaluate.count('(required)') == 3 and '{none,ram}' in run and '--image-root DIR' in run
    assert not any(value in text for value in ('None', 'False', "('") for text in (run, evaluate))


def test_blanks_around_commas_do_no_harm():
    assert cli.parse(cli.RUN, '', '', ['--seeds', 'crf, sal']).seeds == ('crf', 'sal')


def test_command_line_reads_back():
    arguments = ['--gpus', 'cpu:2', '--seeds', 'crf,raw', '--crf-gaussian', '3,4.5', '--snapshot', 'a b', '--use-sal']
    first = cli.parse(cli.RUN, 'run_icd.py', '', arguments)
    again = cli.parse(cli.RUN, 'run_icd.py', '', shlex.split(cli.command_line(cli.RUN, first)))
    assert vars(again) == vars(first)


def test_defaults_refuses_unknown_names():
    assert cli.defaults(cli.RUN, gpus='cpu').gpus == 'cpu'
    with pytest.raises(TypeError, match='gpu'):
        cli.defaults(cli.RUN, gpu='cpu')
