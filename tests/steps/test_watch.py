"""The command `icd-watch`: what it prints, writes and refuses."""
import base64
import json
import os
import re
import socket

import cv2
import numpy as np
import pytest

from icd import console
from icd.live import server
from icd.steps import watch
from tests.helpers import run_files


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_files.training('run')


def call(*arguments):
    return console.run_command(watch.main, list(arguments))


def test_it_says_where_the_page_is_and_ends_quietly(run, monkeypatch, capsys):
    def interrupted(serving):
        assert serving.root == 'later'
        raise KeyboardInterrupt
    monkeypatch.setattr(server.Server, 'serve_forever', interrupted)
    assert call('later', '--port', '0') == 0
    printed = capsys.readouterr()
    port = re.search(r'^watching later: http://127\.0\.0\.1:(\d+)/ ', printed.out).group(1)
    assert f'\nfrom another machine: ssh -L {port}:127.0.0.1:{port} ' in printed.out and printed.err == ''
    with socket.socket() as again:                      # the port is free again
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind((server.ADDRESS, int(port)))
    assert not os.path.exists('later')


def test_the_page_is_written_once_with_its_previews_inside(run, capsys, monkeypatch):
    monkeypatch.setattr(watch, '_MOST_EPOCHS', 3)
    for number in range(5):
        run_files.preview(f'run/net_visdemo/net-{number:04d}.jpg', 50 * number)
    large = cv2.imencode('.jpg', np.full((90, 900, 3), 200, np.uint8))[1].tobytes()
    run_files.write('run/results/scores_demo/class_0.jpg', large)
    run_files.write('run/results/scores_demo/class_1.jpg', large[:99])
    before = {path: os.stat(path).st_mtime_ns for path in ('run', 'run/log.csv', 'run/net_visdemo')}
    assert call('run', '--once', 'new/page.html') == 0
    assert capsys.readouterr().out == 'written: new/page.html\n'
    with open('new/page.html', encoding='utf-8') as file:
        text = file.read()
    state = json.loads(re.search('id="state">(.*?)</script>', text, re.S).group(1))
    shown = state['trainings'][0]['previews']
    assert [each['title'] for each in shown] == [f'epoch {number}' for number in (3, 4, 5)]
    images = [cv2.imdecode(np.frombuffer(base64.b64decode(each['url'].partition(',')[2]), np.uint8), 1)
              for each in (*shown, *state['previews'])]
    assert [image.shape for image in images] == [(24, 40, 3)] * 3 + [(72, 720, 3)]     # the broken one is left out
    assert abs(int(images[2][0, 0, 0]) - 200) < 4 and 'data-live=""' in text
    assert before == {path: os.stat(path).st_mtime_ns for path in before}


@pytest.mark.parametrize('arguments, line', [
    (['run/log.csv'], 'run/log.csv: a file or a broken link where a folder is needed: give the --snapshot'),
    (['link'], 'link: a file or a broken link where a folder is needed'),
    (['later', '--once', 'x.html'], 'later: no such folder: check the path'),
    (['run', '--once', 'run'], '--once run: this is a folder: name a file'),
    (['run', '--once', 'run/log.csv/x.html'], 'run/log.csv: a file or a broken link where a folder is needed'),
    (['run', '--port', '65536'], "argument --port: '65536' is not a whole number >= 0 and <= 65535"),
    ([], 'the following arguments are required: SNAPSHOT'),
])
def test_what_is_wrong_is_one_line(run, capsys, arguments, line):
    os.symlink('nowhere', 'link')
    assert call(*arguments) == 2
    printed = capsys.readouterr()
    assert line in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ''
    assert not os.path.exists('x.html')


def test_a_port_in_use_is_one_line(run, capsys):
    with socket.socket() as other:
        other.bind((server.ADDRESS, 0))
        other.listen()
        port = other.getsockname()[1]
        assert call('run', '--port', str(port)) == 2
    assert f'--port {port}: another program is using it: give another, or 0 for any' in capsys.readouterr().err
