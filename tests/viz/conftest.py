"""What the tests of pages have in common."""
import pytest

from tests.helpers import browser


@pytest.fixture(scope='session')
def chromium():
    return browser.find() or pytest.skip('no chromium on this machine (apt-get install chromium)')
