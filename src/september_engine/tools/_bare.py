"""A folder that git takes for a repository by itself, with settings that name programs to run.

Git looks for `.git` in a folder first. Where that is missing or damaged, what would be inside of it may as well lie in
the folder. So who can damage `.git`, as everybody can who may commit, could put settings beside it in their stead.
"""

from __future__ import annotations

import os

__all__ = ["is_bare", "undo_bare"]


def is_bare(folder: str) -> bool:
    """Whether git would take this folder for a repository, were there no `.git` in it."""
    head = f"{folder}/HEAD"
    if not os.path.lexists(head) or (os.path.isdir(head) and not os.path.islink(head)):
        return False
    return os.path.lexists(f"{folder}/commondir") or all(
        os.path.isdir(f"{folder}/{name}") for name in ("objects", "refs")
    )


def undo_bare(folder: str) -> bool:
    """Remove its `HEAD` if it has become one; returns whether it had."""
    if not is_bare(folder):
        return False
    try:
        os.unlink(f"{folder}/HEAD")
    except FileNotFoundError:  # another call was first
        return False
    return True
