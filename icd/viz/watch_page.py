"""The page of a run that goes on: its state, drawn by a script of its own, in one HTML file."""
from __future__ import annotations

import base64
import functools
import hashlib
import json
import os

import jinja2

_FOLDER = os.path.dirname(__file__)


@functools.lru_cache(maxsize=None)
def _script():
    with open(os.path.join(_FOLDER, 'watch.js'), encoding='utf-8') as file:
        return file.read()


@functools.lru_cache(maxsize=None)
def policy() -> str:
    """What a browser may load and run for the page: this script, nothing of others."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


@functools.lru_cache(maxsize=None)
def _template():
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True,
                                     undefined=jinja2.StrictUndefined)
    return environment.get_template('watch.html')


def page(state: dict, live: bool) -> str:
    """The page.

    Parameters
    ----------
    state : dict
        Of `icd.live.run.state`; a preview's `url` may hold its content.
    live : bool
        Whether it asks for the state again, every few seconds, where it comes from.

    Returns
    -------
    str
        HTML that refers to no other file but `state.json` and the previews.
    """
    # Within a script only '<' could end it, or begin a comment.
    text = json.dumps(state, allow_nan=False).replace('<', '\\u003c')
    return _template().render(state=text, live=live, script=_script())
