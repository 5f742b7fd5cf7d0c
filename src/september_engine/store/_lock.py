"""One engine per database file: a lock that the kernel frees when its process ends, however it ends.

It is a POSIX record lock, which belongs to the process: no child of a fork inherits it, so none can keep it. The price
is that the process loses it as soon as it closes any descriptor of the lock file, as a backup that copies the folder
does. So this module never opens a lock file twice, and `keep` makes sure of the lock before every write.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from .._forks import at_fork
from ..errors import ConfigurationError, EngineError, StoreFull, StoreInUse

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None  # type: ignore[assignment]  # said in words when a lock is wanted

__all__ = ["FileLock", "file_error", "identity_of"]


def file_error(path: str | Path, error: OSError) -> EngineError:
    """Why a file of the store cannot be made or opened, in our words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"The disk is full: {path} cannot be made. Make room and open the engine again.")
    return ConfigurationError(f"{path} cannot be opened: {error.strerror}.")


def identity_of(path: str | Path) -> tuple[int, int] | None:
    """Device and inode of what this path names, links not followed; None where there is nothing."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _Locks:
    """The lock files that this process holds, and the databases that were open when it was forked."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.held: dict[tuple[int, int], tuple[int, tuple[int, int] | None]] = {}
        self.inherited: set[tuple[int, int]] = set()

    def give_up(self) -> None:
        """In a child, closing a lock file frees nothing of the parent's: record locks are not inherited."""
        self.mutex = threading.RLock()
        for file, database in self.held.values():
            os.close(file)
            if database is not None:
                self.inherited.add(database)
        self.held.clear()
        at_fork(self)


_locks = _Locks()


class FileLock:
    """Held from `acquire` to `release`. The file beside the database names its owner and is never removed."""

    def __init__(self, database: str | Path) -> None:
        self._database = database
        self._path = f"{database}.lock"
        self._key: tuple[int, int] | None = None

    def __del__(self) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock at once. Raises `StoreInUse` with the owner's pid, `StoreFull`, or `ConfigurationError`."""
        if fcntl is None:
            raise ConfigurationError("SQLite files can only be locked on POSIX systems (Linux, macOS, WSL).")
        with _locks.mutex:
            at_fork(_locks)
            database = identity_of(self._database)
            if database in _locks.inherited:
                raise StoreInUse(
                    f"{self._database} was open in an engine when this process was forked, and SQLite cannot open it "
                    "here any more. Start the process with multiprocessing's 'spawn', or fork before opening an engine."
                )
            if identity_of(self._path) in _locks.held:
                raise self._in_use(str(os.getpid()))
            self._key = self._locked(database)

    def keep(self) -> bool:
        """Make sure of the lock, whatever happened to its file. False where it had to be taken anew.

        Raises `StoreInUse` where another process has it now, and what `acquire` raises.
        """
        with _locks.mutex:
            if self._key is None:
                return True
            if self._key == identity_of(self._path):
                if not _lock(_locks.held[self._key][0]):
                    raise self._in_use(self._owner(_locks.held[self._key][0]))
                return True
            file, database = _locks.held[self._key]
            taken = self._locked(database)
            del _locks.held[self._key]
            os.close(file)
            self._key = taken
            return False

    def release(self) -> None:
        """Free the lock. Harmless when it is not held, and in a child of a fork, which never has it."""
        with _locks.mutex:
            key, self._key = self._key, None
            if key is not None and key in _locks.held:
                os.close(_locks.held.pop(key)[0])

    def _locked(self, database: tuple[int, int] | None) -> tuple[int, int]:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise file_error(self._path, error) from error
        try:
            if not (_free_of_flock(file) and _lock(file)):
                raise self._in_use(self._owner(file))
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
            status = os.fstat(file)
        except OSError as error:
            os.close(file)
            raise file_error(self._path, error) from error
        except StoreInUse:
            os.close(file)
            raise
        _locks.held[status.st_dev, status.st_ino] = (file, database)
        return status.st_dev, status.st_ino

    def _owner(self, file: int) -> str:
        return os.pread(file, 32, 0).decode(errors="replace").strip()

    def _in_use(self, owner: str) -> StoreInUse:
        pid = int(owner) if owner.isdecimal() else None
        where = "in this process" if pid == os.getpid() else f"(process {owner or 'unknown'})"
        return StoreInUse(
            f"{self._database} is open in another engine {where}. Close that one, or give this one a file of its own.",
            pid=pid,
        )


def _lock(file: int) -> bool:
    return _tried(lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB))


def _free_of_flock(file: int) -> bool:
    """Whether no engine of 0.1.0, which held a lock of this other kind, has the file."""
    if not _tried(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)):
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def _tried(lock: Callable[[], object]) -> bool:
    try:
        lock()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True
