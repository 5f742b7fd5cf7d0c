"""One engine per database file: a lock that the kernel frees when its process ends, however it ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import ConfigurationError, EngineError, StoreFull, StoreInUse

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None  # type: ignore[assignment]  # said in words when a lock is wanted

__all__ = ["FileLock", "file_error"]


def file_error(path: str | Path, error: OSError) -> EngineError:
    """Why a file of the store cannot be made or opened, in our words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"The disk is full: {path} cannot be made. Make room and open the engine again.")
    return ConfigurationError(f"{path} cannot be opened: {error.strerror}.")


class FileLock:
    """Held from `acquire` to `release`. The file beside the database names its owner and is never removed."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock at once. Raises `StoreInUse` with the owner's pid, `StoreFull`, or `ConfigurationError`."""
        if fcntl is None:
            raise ConfigurationError("SQLite files can only be locked on POSIX systems (Linux, macOS, WSL).")
        path = f"{self._database}.lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise file_error(path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(file, 32, 0).decode(errors="replace").strip()
            os.close(file)
            pid = int(owner) if owner.isdecimal() else None
            where = "in this process" if pid == os.getpid() else f"(process {owner or 'unknown'})"
            raise StoreInUse(
                f"{self._database} is open in another engine {where}. "
                "Close that one, or give this one a file of its own.",
                pid=pid,
            ) from None
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        except OSError as error:
            os.close(file)
            raise file_error(path, error) from error
        self._file = file

    def release(self) -> None:
        """Free the lock. Harmless when it is not held."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
