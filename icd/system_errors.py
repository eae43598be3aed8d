"""What an error of the operating system means for the user, in a line: `icd.console` prints it.

`external/superpixel/app/system_errors.cpp` says the same in the same words.
"""
from __future__ import annotations

import errno
import os

from icd.errors import printable

_AGAIN = 'run the same command again'
# By meaning: what is wrong, what to do, and the names of the codes; not every system has all of them.
_MEANINGS = (
    ('the disk is full', f'free some space and {_AGAIN}', 'ENOSPC'),
    ('the disk quota is used up', f'free some space and {_AGAIN}', 'EDQUOT'),
    ('the file system is read-only', 'choose a folder that can be written', 'EROFS'),
    ('permission denied', 'choose another folder or change its permissions', 'EACCES EPERM'),
    ('the ticket of the network file system has run out', f'renew it and {_AGAIN}',
     'ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED'),
    ('the file is larger than files may be', 'raise the limit (ulimit -f) or choose another file system',
     'EFBIG EOVERFLOW'),
    ('the device reports a read or write error', 'check the disk', 'EIO ENXIO ENODEV ENOMEDIUM EMEDIUMTYPE ENODATA'),
    ('the file system is damaged', 'check the disk', 'EUCLEAN EBADMSG ELIBBAD EBADFD'),
    ('the network file system does not answer', f'check that it is mounted, then {_AGAIN}',
     'ENOTCONN ETIMEDOUT ETIME EHOSTDOWN EHOSTUNREACH ENETDOWN ENETUNREACH ENETRESET ECONNREFUSED ECONNRESET '
     'ECONNABORTED ENOLINK EREMOTEIO ENONET ESHUTDOWN EREMCHG ECOMM EPROTO EREMOTE EPIPE ENOTUNIQ'),
    ('the network file system has lost the file', f'mount it again and {_AGAIN}', 'ESTALE'),
    ('another program is using it', f'wait for it, then {_AGAIN}', 'EBUSY ETXTBSY EDEADLK EDEADLOCK ENOLCK EUSERS'),
    ('the file is gone', f'restore it and {_AGAIN}', 'ENOENT'),
    ('a part of this path is a file, not a folder', 'choose another path', 'ENOTDIR'),
    ('there is a file or folder of this name', 'choose another path', 'EEXIST ENOTEMPTY'),
    ('this is a folder, not a file', 'choose another path', 'EISDIR'),
    ('a link that leads to itself', 'remove the link', 'ELOOP'),
    ('the file name is too long', 'shorten it', 'ENAMETOOLONG'),
    ('the file system does not take this name', 'use plain letters', 'EILSEQ'),
    ('too many open files', 'raise the limit (ulimit -n)', 'EMFILE'),
    ('too many open files on this machine', 'end other programs', 'ENFILE'),
    ('no more processes or threads can be started', 'raise the limit (ulimit -u), or use a smaller --num-process and '
     '--num-workers', 'EAGAIN EWOULDBLOCK'),
    ('out of memory', f'{_AGAIN} where more is free', 'ENOMEM ENOBUFS'),
    ('the file system does not support this', 'choose a folder on another one',
     'ENOSYS ENOTSUP EOPNOTSUPP EXDEV ENOTTY EPROTONOSUPPORT ESPIPE EMLINK'),
)
_TEXTS = {getattr(errno, name): (what, remedy) for what, remedy, names in _MEANINGS for name in names.split()
          if hasattr(errno, name)}
_UNFORESEEN = f'{_AGAIN}, and if it stays, choose another folder'
# Codes by which a file system says that it cannot make sure that a file has arrived on the disk.
NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def text(code: int) -> str:
    """What an error code means and what to do; of one that nobody foresaw, the system's own words."""
    what, remedy = _TEXTS.get(code, (os.strerror(code), _UNFORESEEN))
    return f'{what}: {remedy}'


def line(error: OSError) -> str:
    """An error as a message of one line: the file, if one is known, what is wrong, what to do."""
    path = error.filename2 or error.filename
    if error.errno is None:                                 # raised by a library in its own words
        return printable(str(error) or type(error).__name__)
    name = os.fsdecode(path) if isinstance(path, (str, bytes)) else ''
    return f'{printable(name)}: {text(error.errno)}' if name else text(error.errno)
