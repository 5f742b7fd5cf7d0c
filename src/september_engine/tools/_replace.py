"""Replacing a file so that whoever reads it sees the old or the new one, whole, and so does the disk after a crash."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress

from ._beneath import Spot
from ._refusals import Changed, ReadOnly

__all__ = ["put"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


def put(spot: Spot, data: bytes, *, before: os.stat_result | None) -> None:
    """Let the spot hold these bytes. `before` is the file that is there and shall go; its mode and owner are kept.

    Raises `Changed` where the file is another by now, `FileExistsError` where there was none and is one, `ReadOnly`,
    and `OSError`; then nothing has changed, unless the disk failed at the very end.
    """
    if before is not None and not before.st_mode & 0o222:
        raise ReadOnly
    temporary = f".september-engine-{secrets.token_hex(8)}.tmp"
    file = os.open(temporary, _NEW, 0o666, dir_fd=spot.folder)
    try:
        try:
            if before is not None:
                _keep(file, before)
            _write(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        if before is None:
            _place(spot, temporary)
        else:
            now = os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False)
            if _identity(now) != _identity(before):
                raise Changed
            os.rename(temporary, spot.name, src_dir_fd=spot.folder, dst_dir_fd=spot.folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=spot.folder)
        raise
    _sync(spot.folder)


def _place(spot: Spot, temporary: str) -> None:
    """Give the file its name, if nothing has it. A rename would take it from another; a link does not."""
    try:
        os.link(temporary, spot.name, src_dir_fd=spot.folder, dst_dir_fd=spot.folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # a file system without links: nothing better than to look first
        with suppress(FileNotFoundError):
            os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(temporary, spot.name, src_dir_fd=spot.folder, dst_dir_fd=spot.folder)
    else:
        os.unlink(temporary, dir_fd=spot.folder)


def _keep(file: int, before: os.stat_result) -> None:
    mine = os.fstat(file)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        with suppress(PermissionError):
            os.fchown(file, before.st_uid, before.st_gid)
    os.fchmod(file, stat.S_IMODE(before.st_mode) & 0o777)


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
