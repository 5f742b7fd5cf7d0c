"""Watch: whether the paths of a database still name what SQLite has open.

SQLite itself does not notice: it goes on in the files that it has open, wherever they are by now. What is asked here
costs a few microseconds, so it is asked before and after every transaction.

1. A file is known by its device and inode. The database, its `-wal` and its `-shm` must be those that were opened.
2. Its content is SQLite's alone. In WAL mode the database file changes only while a checkpoint copies into it, and the
   WAL shrinks only when it begins anew. Either shows in the WAL index (https://sqlite.org/walformat.html, section 2),
   whichever process did it. A change without that is not SQLite's: something was copied over the file.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import Literal

import attrs

from .._forks import open_files
from ..errors import StoreMoved
from ._lock import identity_of

__all__ = ["Watch"]

PARTS = ("", "-wal", "-shm")

INDEX_BYTES = 136
HEADER, BACKFILLED, ATTEMPTED = slice(0, 48), slice(96, 100), slice(128, 132)
"""In the WAL index: its first header; how many frames are copied into the database; how many were about to be."""

SAMPLE_BYTES = 64 * 1024


@attrs.frozen
class _Index:
    header: bytes
    backfilled: bytes
    attempted: bytes


@attrs.frozen
class _Seen:
    """The database file (size and time of change), the size of the WAL, and the WAL index, all at one moment."""

    database: tuple[int, int]
    wal: int
    index: _Index | None


class Watch:
    """The files of one database at an absolute path. `begin` is called when its connections are open.

    `look` is for any thread, `check` for the one that writes.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, tuple[int, int] | None] = {}
        self._files: dict[str, int] = {}
        self._seen: _Seen | None = None
        self._sample = b""

    def begin(self) -> None:
        """Take the files as they are now for the right ones."""
        self._known = {part: identity_of(self._path + part) for part in PARTS}
        parts = {identity: part for part, identity in self._known.items() if identity is not None}
        self._files = {parts[identity]: file for file, identity in open_files() if identity in parts}
        self._see()

    def pause(self) -> None:
        """The connections are closed: nothing but which file it was is still known."""
        self._known = {part: known for part, known in self._known.items() if not part}
        self._files, self._seen = {}, None

    def forget(self) -> None:
        """Take whatever comes for the right files."""
        self.pause()
        self._known = {}

    def check(self) -> None:
        """After a write: as `look`, and take what is there now for SQLite's own. Raises `StoreMoved`."""
        before, index = self._seen, self._index()
        database, wal = self.look()
        if before is None or database != before.database:
            self._see()
        else:
            self._seen = _Seen(database, wal, index)

    def look(self) -> tuple[tuple[int, int], int]:
        """Before a read or a write. Size and time of change of the database file, size of its WAL.

        Raises `StoreMoved`.
        """
        seen = self._seen  # read first: what another thread writes from here on shows in the index
        database, wal = self.same_file(), self._wal_size()
        for part in PARTS[1:]:
            if self._known.get(part) not in (None, identity_of(self._path + part)):
                raise StoreMoved(
                    f"{self._path}{part}, which is a part of the database, was moved, deleted or replaced. Put it "
                    "back, or close the engine and open it again: closing saves what was written.",
                    path=self._path + part,
                )
        if self._overwritten(seen, database, wal):
            raise StoreMoved(
                f"Something other than SQLite wrote to the database file {self._path}, such as a copy of a backup. "
                "Close the engine, put the right file there without a -wal beside it, and open the engine again.",
                path=self._path,
            )
        return database, wal

    def same_file(self) -> tuple[int, int]:
        """Raise `StoreMoved` where the path names another file than the one that was opened, or none."""
        known = self._known.get("")
        try:
            status = os.lstat(self._path)
        except OSError:
            what = f"The database file cannot be reached: {self._path} was moved or deleted"
        else:
            if known in (None, (status.st_dev, status.st_ino)):
                return status.st_size, status.st_mtime_ns
            what = f"Another file stands in the place of the database {self._path}, which was moved or replaced"
        raise StoreMoved(
            f"{what} while the engine had it open. Put the same file back, or close the engine and open it again.",
            path=self._path,
        )

    @property
    def settled(self) -> bool:
        """No checkpoint is under way or was cut, so a change of the database file can be told from one."""
        index = None if self._seen is None else self._seen.index
        return index is None or index.backfilled == index.attempted

    def state(self) -> Literal["whole", "moved", "overwritten"]:
        """What is to be kept in mind when the connections are closed."""
        seen = self._seen
        try:
            database = self.same_file()
        except StoreMoved:
            return "moved"
        return "overwritten" if self._overwritten(seen, database, self._wal_size()) else "whole"

    @property
    def holds_wal(self) -> bool:
        """The WAL that lies beside the path is the one that is open."""
        known = self._known.get("-wal")
        return known is not None and known == identity_of(f"{self._path}-wal")

    @property
    def fits_wal(self) -> bool:
        """As far as can be seen, what was copied over the database file is what the WAL goes on from."""
        return self._sample == self._sampled()

    @property
    def descriptors(self) -> list[int]:
        """Every descriptor of this process for these files, whoever opened it."""
        known = set(self._known.values())
        return [file for file, identity in open_files() if identity in known]

    # ── what is there ────────────────────────────────────────────────────────────────────────────────────────────

    def _overwritten(self, seen: _Seen | None, database: tuple[int, int], wal: int) -> bool:
        """Whether something else than SQLite changed what was `seen` into this, which was looked at later."""
        if seen is None or seen.index is None or (database == seen.database and wal >= seen.wal):
            return False
        # read last: a checkpoint is announced in the index before it changes the file
        index = self._index()
        return index == seen.index and index.backfilled == index.attempted

    def _see(self) -> None:
        # read first: what a checkpoint changes from here on is then explained by the index as it will be
        index = self._index()
        try:
            status = os.lstat(self._path)
            self._seen = _Seen((status.st_size, status.st_mtime_ns), self._wal_size(), index)
        except OSError:  # gone this very moment: the next look says so
            self._seen = None
        self._sample = self._sampled()

    def _wal_size(self) -> int:
        wal = self._files.get("-wal")
        return 0 if wal is None else os.fstat(wal).st_size

    def _index(self) -> _Index | None:
        raw = self._read("-shm", INDEX_BYTES)
        return _Index(raw[HEADER], raw[BACKFILLED], raw[ATTEMPTED]) if len(raw) == INDEX_BYTES else None

    def _sampled(self) -> bytes:
        size = 0
        with suppress(KeyError, OSError):
            size = os.fstat(self._files[""]).st_size
        return hashlib.sha256(b"%d:%b" % (size, self._read("", SAMPLE_BYTES))).digest()

    def _read(self, part: str, size: int) -> bytes:
        """Through SQLite's own descriptor: to close one of ours would drop SQLite's locks on the file."""
        file = self._files.get(part)
        try:
            if file is not None:
                status = os.fstat(file)
                if (status.st_dev, status.st_ino) == self._known[part]:
                    return os.pread(file, size, 0)
        except OSError:
            pass
        return b""
