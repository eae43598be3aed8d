"""The page of a run, for browsers on this machine: it is read, never written to, and shows nothing but the run.

A page of the web that is open in the same browser cannot read it: a name that leads here by DNS is not answered, no
answer may be read or embedded by other pages, and nothing on the page comes from elsewhere.
"""
from __future__ import annotations

import errno
import http.server
import json
import re
import socket
import socketserver
import sys

from icd.errors import UserError
from icd.live import run
from icd.viz import watch_page

ADDRESS = '127.0.0.1'
_HOSTS = re.compile(r'(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?', re.IGNORECASE)
_PATIENCE = 20          # seconds until a silent browser is given up
_NO_OTHERS = {
    'Cache-Control': 'no-store',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
}


class Server(socketserver.ThreadingTCPServer):
    """A server of one page; `serve_forever()` answers until `shutdown()`.

    Parameters
    ----------
    root : str
        Folder of the run; see `icd.live.run.state`.
    port : int
        0: any that is free.

    Raises
    ------
    UserError
        When the port cannot be taken.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, root: str, port: int):
        self.root = root
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            what = 'another program is using it' if error.errno == errno.EADDRINUSE else (
                f'this port cannot be taken ({error.strerror})')
            raise UserError(what, f'--port {port}', 'give another, or 0 for any') from None

    @property
    def port(self) -> int:
        """Its port."""
        return self.server_address[1]

    def handle_error(self, request, client_address):
        """See the base class. A browser that leaves, or falls silent, is no error."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request: GET or HEAD of the page, of its state as JSON, or of a preview that is there now."""

    timeout = _PATIENCE
    server_version, sys_version = 'icd-watch', ''

    def do_GET(self):
        """Answer; also a HEAD, without the content."""
        try:
            status, kind, data = self._answer()
        except (UserError, OSError):            # a preview that is gone by now, or is none any more
            status, kind, data = _refused(404)
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(data)))
        for name, value in dict(_NO_OTHERS, **{'Content-Security-Policy': watch_page.policy()}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)

    do_HEAD = do_GET

    def _answer(self):
        """Status, type and content."""
        if not _HOSTS.fullmatch(self.headers.get('Host', '')):
            return _refused(403)
        path, root = self.path.partition('?')[0], self.server.root
        if path == '/':
            return 200, 'text/html; charset=utf-8', watch_page.page(run.state(root), live=True).encode()
        if path == '/state.json':
            return 200, 'application/json', json.dumps(run.state(root), allow_nan=False).encode()
        # What is asked for is compared with what there is; no path is made of it.
        preview = run.look(root)[1].get(path[1:]) if path.startswith('/preview/') else None
        return _refused(404) if preview is None else (200, 'image/jpeg', preview.read())

    def log_message(self, *_):
        """Nothing: the terminal is for the user."""


def _refused(status):
    return status, 'text/plain; charset=utf-8', f'{status} {http.HTTPStatus(status).phrase}\n'.encode()
