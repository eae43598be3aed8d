"""What MXNet's variables must hold for a training on several nodes."""
import pytest

from icd.errors import UserError
from icd.train import distributed

COMPLETE = dict(DMLC_ROLE='worker', DMLC_PS_ROOT_URI='127.0.0.1', DMLC_PS_ROOT_PORT='9000', DMLC_NUM_WORKER='2',
                DMLC_NUM_SERVER='1')


@pytest.mark.parametrize('kvstore, changes, message', [
    ('dist_sync', dict(DMLC_ROLE=None), 'DMLC_ROLE not set: start the processes with'),
    ('dist_sync', dict(DMLC_NUM_SERVER=None, DMLC_NUM_WORKER=''), 'DMLC_NUM_WORKER, DMLC_NUM_SERVER not set'),
    ('dist_device_sync', dict(DMLC_ROLE='boss'), 'DMLC_ROLE=boss: must be'),
    ('dist_sync', dict(DMLC_PS_ROOT_PORT='high'), 'DMLC_PS_ROOT_PORT=high: must be a number'),
    ('device', {}, '--kvstore device, but DMLC_ROLE=worker: .*give --kvstore dist_sync'),
])
def test_invalid_distributed_roles_are_refused(monkeypatch, kvstore, changes, message):
    for name, value in dict(COMPLETE, **changes).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        distributed.check(kvstore)


def test_valid_distributed_roles_are_accepted(monkeypatch):
    for name in COMPLETE:
        monkeypatch.delenv(name, raising=False)
    distributed.check('device')
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    distributed.check('dist_sync')
