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
    ('device', {}, '--kvstore device, but DMLC_ROLE=worker and DMLC_NUM_WORKER=2: .*give --kvstore dist_sync'),
    ('device', dict(DMLC_ROLE='server', DMLC_NUM_WORKER='two'), 'DMLC_NUM_WORKER=two: .*unset them if they are left'),
])
def test_invalid_distributed_roles_are_refused(monkeypatch, kvstore, changes, message):
    for name, value in dict(COMPLETE, **changes).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        distributed.check(kvstore)


def test_a_left_over_role_is_ignored_and_named(monkeypatch, capsys):
    for role in distributed.SERVING:
        monkeypatch.setenv('DMLC_ROLE', role)
        assert distributed.serves('dist_sync') and not distributed.serves('device')
        assert capsys.readouterr().err.count(f'DMLC_ROLE={role} is ignored: --kvstore device') == 1
    for role in ('worker', None):
        monkeypatch.setenv('DMLC_ROLE', role) if role else monkeypatch.delenv('DMLC_ROLE')
        assert not distributed.serves('dist_sync') and not distributed.serves('device')


def test_valid_distributed_roles_are_accepted(monkeypatch):
    for name in COMPLETE:
        monkeypatch.delenv(name, raising=False)
    distributed.check('device')
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    distributed.check('dist_sync')
