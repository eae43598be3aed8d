"""What a real browser makes of a page."""
import html
import json
import re
import shutil
import subprocess

QUIET = ('--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
         '--disable-component-update --disable-sync --hide-scrollbars').split()
NAMES = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'
# A probe is the body of a function of the loaded page; what it returns comes back by way of the document.
SCRIPT = """<script>addEventListener('load', () => {
  const pre = document.createElement('pre'); pre.id = 'probe'; pre.textContent = JSON.stringify((() => { %s })());
  document.body.append(pre); });</script></body>"""


def find():
    """The browser's program, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def opened(chromium, text, tmp_path, width, probe):
    """What a probe, in JavaScript, returns of a page in a window of this width."""
    (tmp_path / 'page.html').write_text(text.replace('</body>', SCRIPT.replace('%s', probe)), encoding='utf-8')
    document = loaded(chromium, (tmp_path / 'page.html').as_uri(), tmp_path, width)
    found = re.search('<pre id="probe">(.*?)</pre>', document, re.S)
    assert found, document[-2000:]
    return json.loads(html.unescape(found.group(1)))


def loaded(chromium, address, tmp_path, width):
    """The document at an address after four seconds of its scripts, as text."""
    done = subprocess.run(
        [chromium] + QUIET + [f'--user-data-dir={tmp_path / "profile"}', f'--window-size={width},900',
                              '--virtual-time-budget=4000', '--dump-dom', address],
        capture_output=True, timeout=120, text=True, encoding='utf-8')
    assert '</html>' in done.stdout, done.stderr[-2000:]
    return done.stdout
