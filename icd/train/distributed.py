"""Training on several nodes: MXNet's roles, and the watch over a job (`icd.train.watch`) in each of them."""
from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import traceback

from icd import console
from icd.errors import UserError
from icd.train.watch import Hub, Member

SERVING = ('scheduler', 'server')
_VARIABLES = ('DMLC_ROLE', 'DMLC_PS_ROOT_URI', 'DMLC_PS_ROOT_PORT', 'DMLC_NUM_WORKER', 'DMLC_NUM_SERVER')
_TOKEN_KEY = 1 << 20            # beyond those of parameters


def role() -> str | None:
    """MXNet's role of this process: 'scheduler', 'server', 'worker', or None in an ordinary run."""
    return os.environ.get('DMLC_ROLE')


def nodes(kvstore: str) -> int:
    """How many nodes train, by the environment; see `check`."""
    return max(1, int(os.environ.get('DMLC_NUM_WORKER', '1'))) if kvstore.startswith('dist') else 1


def serves(kvstore: str) -> bool:
    """Whether this process is to `serve` a training on several nodes, not to train.

    With a `--kvstore` of one node a role means nothing: the shell has it from an earlier training.
    """
    if role() not in SERVING:
        return False
    if kvstore.startswith('dist'):
        return True
    console.log(f'DMLC_ROLE={role()} is ignored: --kvstore {kvstore} takes part in no training on several nodes')
    return False


def check(kvstore: str):
    """Raise a UserError when `--kvstore` and the environment do not agree about several nodes."""
    if not kvstore.startswith('dist'):
        if role() and os.environ.get('DMLC_NUM_WORKER', '1') != '1':
            raise UserError('each worker would train alone', f'--kvstore {kvstore}, but DMLC_ROLE={role()} and '
                            f"DMLC_NUM_WORKER={os.environ['DMLC_NUM_WORKER']}",
                            'give --kvstore dist_sync, or unset them if they are left over')
        return
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        raise UserError(f"{', '.join(missing)} not set", f'--kvstore {kvstore}',
                        "start the processes with icd-launch, or set MXNet's variables as "
                        'docs/training.md shows')
    if role() not in SERVING + ('worker',):
        raise UserError('must be scheduler, server or worker', f'DMLC_ROLE={role()}')
    for name in _VARIABLES[2:]:
        if not os.environ[name].isdigit():
            raise UserError('must be a number', f'{name}={os.environ[name]}')


def serve(kvstore: str):
    """Be the scheduler or a server until the training is over.

    Parameters
    ----------
    kvstore : str
        `--kvstore`, see `check`.
    """
    check(kvstore)
    for number in (signal.SIGTERM, signal.SIGINT):      # MXNet gives Python no chance to handle them
        signal.signal(number, signal.SIG_DFL)
    with contextlib.closing(Hub() if role() == 'scheduler' else Member(role())) as watch:
        from icd.mxnet_setup import mx
        # Returns when the workers are done.
        mx.kvstore.kvstore_server.KVStoreServer(mx.kvstore.create('dist')).run()
        watch.depart()


@contextlib.contextmanager
def watched(kvstore: str):
    """In a distributed training: end everything when one process is lost, and report to the others why this one ends.

    All references to the store must be gone when the block ends: closing it waits for the other workers.

    Parameters
    ----------
    kvstore : str
        `--kvstore`.
    """
    if not kvstore.startswith('dist'):
        yield
        return
    watch = Member('worker')
    try:
        yield
    except BaseException as error:
        # An orderly way out would wait for the other workers, which wait for this one.
        code = 2 if watch.lost else _report(error)
        if not watch.lost:
            watch.fail(str(error) or type(error).__name__)
        sys.stderr.flush()
        os._exit(code)
    gc.collect()
    watch.depart()
    watch.close()


def _report(error):
    """Log what the command would of `error`; its exit code."""
    def again(_):
        raise error
    try:
        return console.run_command(again, [])
    except SystemExit as leaving:
        return leaving.code
    except Exception:
        traceback.print_exc()
        return 1


def same_everywhere(kvstore, token: bytes) -> bool:
    """Whether all workers give the same `token`, as the first one sees it.

    Parameters
    ----------
    kvstore : mxnet.kvstore.KVStore
    token : bytes
        Of one length on all nodes.

    Returns
    -------
    bool
        True on the first worker.
    """
    from icd.mxnet_setup import mx
    mine = mx.nd.array(list(token))
    first = mx.nd.zeros(mine.shape)
    kvstore.broadcast(_TOKEN_KEY, mine, first)
    return bool((first == mine).min().asscalar())
