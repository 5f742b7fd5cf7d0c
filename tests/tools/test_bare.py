from __future__ import annotations

import os
from pathlib import Path

import pytest

from september_engine.tools._bare import is_bare, undo_bare


@pytest.mark.parametrize(
    ("names", "bare"),
    [
        (("HEAD", "objects/", "refs/"), True),
        (("HEAD", "commondir"), True),
        (("HEAD", "objects/"), False),
        (("HEAD",), False),
        (("HEAD/", "objects/", "refs/"), False),
        (("objects/", "refs/", "commondir"), False),
    ],
)
def test_it_takes_a_head_and_what_it_is_the_head_of(tmp_path: Path, names: tuple[str, ...], bare: bool) -> None:
    for name in names:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text("")
    assert is_bare(str(tmp_path)) == bare
    assert undo_bare(str(tmp_path)) == bare
    assert not is_bare(str(tmp_path))
    assert not undo_bare(str(tmp_path))


def test_a_link_is_a_head_too_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    os.symlink("kept", tmp_path / "HEAD")
    (tmp_path / "commondir").write_text("")
    assert undo_bare(str(tmp_path))
    assert (tmp_path / "kept").read_text() == "kept"
