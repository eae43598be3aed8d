"""The server of a page: what it answers, whom, and that a browser draws it."""
import contextlib
import http.client
import json
import os
import re
import socket
import threading
import urllib.parse

import pytest

from icd.errors import UserError
from icd.live import server
from tests.helpers import browser, run_files

SECRET = b'nobody sees this'
PREVIEW = '/preview/net_visdemo/net-0000.jpg'


@contextlib.contextmanager
def serving(root):
    """A server in a thread: its port."""
    with server.Server(root, 0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={'poll_interval': .01})
        thread.start()
        try:
            yield running.port
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('watched'))
    run_files.training(folder + '/run', command="--model '<script>bad()</script>'")
    run_files.preview(folder + '/run' + PREVIEW[len('/preview'):])
    run_files.preview(folder + '/run/net_visdemo/a b%2f\xf6?-0001.jpg')
    run_files.write(folder + '/secret.jpg', SECRET)
    run_files.write(folder + '/run/net_visdemo/secret.jpg', SECRET)
    os.symlink(folder + '/secret.jpg', folder + '/run/net_visdemo/net-0007.jpg')
    return folder + '/run'


@pytest.fixture(scope='module')
def port(root):
    with serving(root) as found:
        yield found


def ask(port, path, method='GET', host='localhost', **headers):
    """Status, headers and content."""
    with contextlib.closing(http.client.HTTPConnection(server.ADDRESS, port, timeout=20)) as connection:
        connection.putrequest(method, path, skip_host=True)
        for name, value in dict(headers, **({} if host is None else {'Host': host})).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_page_state_and_preview(root, port):
    status, headers, page = ask(port, '/')
    assert status == 200 and headers['Content-Type'] == 'text/html; charset=utf-8' and b'<h1>A run</h1>' in page
    assert b'<script>bad' not in page and page.count(b'<script') == page.count(b'</script') == 2
    status, headers, data = ask(port, '/state.json?1')
    assert status == 200 and headers['Content-Type'] == 'application/json'
    state = json.loads(data)
    assert state['trainings'][0]['command'] == "--model '<script>bad()</script>'"
    for preview in state['trainings'][0]['previews']:
        status, headers, data = ask(port, f"/{preview['url']}?{preview['wrote']}")
        assert status == 200 and headers['Content-Type'] == 'image/jpeg' and data[:2] == b'\xff\xd8'
        assert len(data) == int(headers['Content-Length'])
    assert len(state['trainings'][0]['previews']) == 2


def test_nothing_else_is_answered(root, port):
    real = os.path.realpath(root)
    for path in ('/preview/../secret.jpg', '/preview/net_visdemo/../../secret.jpg', '/../secret.jpg',
                 '/..%2fsecret.jpg', '/preview/net_visdemo%2fnet-0000.jpg', '/preview/%2e%2e/secret.jpg',
                 '/preview/..%5csecret.jpg', '/preview/net_visdemo/%2e%2e/%2e%2e/secret.jpg',
                 '/preview/net_visdemo/net-0007.jpg', '/preview/net_visdemo/secret.jpg', f'/preview/{real}/log.txt',
                 f'/preview//{real}/net_visdemo/net-0000.jpg', '/log.txt', '/preview/log.txt', '/preview/', '/preview',
                 '/preview/net_visdemo/net-0000.jpg%00', '/net_visdemo/net-0000.jpg', '/state.json/', '/index.html',
                 'http://localhost/', 'file:///etc/passwd', '*', '/preview/net_visdemo/', '//etc/passwd'):
        status, _, data = ask(port, path)
        assert (status, data) == (404, b'404 Not Found\n'), path
    assert ask(port, PREVIEW)[0] == ask(port, PREVIEW + '?/../secret.jpg')[0] == 200


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'PATCH'])
def test_only_reading_is_possible(port, method):
    assert ask(port, '/', method)[0] == 501
    assert ask(port, '/state.json', method)[0] == 501


@pytest.mark.parametrize('path', ['/', '/state.json', PREVIEW, '/other'])
def test_head_has_no_content(port, path):
    status, headers, data = ask(port, path, 'HEAD')
    assert status == ask(port, path)[0] and data == b'' and int(headers['Content-Length']) > 5


@pytest.mark.parametrize('host, answered', [
    ('localhost', True), ('LocalHost:80', True), ('127.0.0.1:9', True), ('[::1]:65535', True), ('[::1]', True),
    ('example.com', False), ('localhost.example.com', False), ('localhost:80.example.com', False), ('', False),
    ('127.0.0.1.nip.io:8600', False), ('example.com#localhost', False), ('0.0.0.0:80', False), ('localhost:', False),
    (None, False)])
def test_names_that_dns_leads_here_are_not_answered(port, host, answered):
    for path in ('/', '/state.json', PREVIEW):
        status, _, data = ask(port, path, host=host)
        assert status == (200 if answered else 403) and (answered or data == b'403 Forbidden\n')


def test_other_pages_can_neither_read_nor_embed_it(port):
    for path in ('/', '/state.json', PREVIEW, '/other'):
        _, headers, _ = ask(port, path, Origin='https://example.com')
        assert headers['Cross-Origin-Resource-Policy'] == 'same-origin' and headers['X-Frame-Options'] == 'DENY'
        assert headers['X-Content-Type-Options'] == 'nosniff' and headers['Cache-Control'] == 'no-store'
        assert not [name for name in headers if name.lower().startswith('access-control')]
        policy = headers['Content-Security-Policy']
        assert policy.startswith("default-src 'none'; script-src 'sha256-") and "'unsafe-eval'" not in policy


def test_only_this_machine_is_listened_to(port):
    with open('/proc/net/tcp') as file:
        listening = [line.split()[1] for line in file if line.split()[3] == '0A']
    assert f'0100007F:{port:04X}' in listening and f'00000000:{port:04X}' not in listening


def test_a_browser_that_leaves_is_no_error(root, capsys):
    with serving(root) as port:
        for request in (b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', b'GET /', b'\x16\x03\x01\n', b''):
            with socket.create_connection((server.ADDRESS, port)) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
                one.sendall(request)
        assert ask(port, '/state.json')[0] == 200
    assert capsys.readouterr() == ('', '')


def test_a_port_that_is_taken_is_one_line(root, port):
    with pytest.raises(UserError, match=rf'^--port {port}: another program is using it: give another, or 0 for any$'):
        server.Server(root, port)


def test_a_port_can_be_taken_again_at_once(root):
    with serving(root) as port:
        assert ask(port, '/state.json')[0] == 200
    server.Server(root, port).server_close()


def test_a_preview_that_is_replaced_or_gone(tmp_path):
    path = str(tmp_path / 'net_visdemo/net-0000.jpg')
    run_files.preview(path)
    with serving(str(tmp_path)) as port:
        assert ask(port, PREVIEW)[0] == 404             # there is no training yet
        run_files.training(str(tmp_path))
        before, first = ask(port, PREVIEW), json.loads(ask(port, '/state.json')[2])
        run_files.preview(path, shade=200)
        after, second = ask(port, PREVIEW), json.loads(ask(port, '/state.json')[2])
        assert before[0] == after[0] == 200 and before[2] != after[2]
        assert first['trainings'][0]['previews'][0]['wrote'] < second['trainings'][0]['previews'][0]['wrote']
        os.remove(path)
        assert ask(port, PREVIEW)[0] == 404


def test_a_browser_draws_what_is_there_and_what_comes(tmp_path, monkeypatch):
    chromium = browser.find() or pytest.skip('no chromium on this machine (apt-get install chromium)')
    root = str(tmp_path / 'run')
    asked, answer = [], server._Handler._answer

    class Handler(server._Handler):
        def _answer(self):
            asked.append(urllib.parse.urlsplit(self.path).path)
            if asked[-1] == '/state.json':              # the page was there before the run
                run_files.training(root)
                run_files.preview(root + '/net_visdemo/net-0000.jpg')
            return answer(self)
    monkeypatch.setattr(server, '_Handler', Handler)
    with serving(root) as port:
        document = browser.loaded(chromium, f'http://localhost:{port}/', tmp_path, 1280)
    assert asked.index('/state.json') < asked.index(PREVIEW)
    assert document.count('<svg viewBox="0 0 365 190"') == 6       # three in a row
    assert len(re.findall('<path class="line[01]" d="M[^"]*L', document)) == 7
    assert re.search('<img alt="preview of epoch 1" src="preview/net_visdemo/net-0000.jpg', document)
    assert 'epoch 1 batch 1: loss' in document and '>6 of 12 steps<' in document
