"""Opening a snapshot's content although its brick is somebody else's."""

import os

import pytest

from svcmgr.services.snapd.roots import open_root

ID = "0f3c5b9e-6a63-4d5e-9d5b-111111111111"


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "brick" / ".svcmgr" / "snapshots" / ID
    path.mkdir(parents=True)
    (path / "file").write_text("true")
    for directory in (path.parent, path.parents[1]):
        directory.chmod(0o700)
    return path


def names(path):
    fd = open_root(path)
    try:
        inside = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        try:
            return os.listdir(inside)
        finally:
            os.close(inside)
    finally:
        os.close(fd)


def test_what_is_ours_is_opened(root, tmp_path):
    assert names(root) == ["file"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert names(elsewhere) == []


@pytest.mark.parametrize("depth", [0, 1])
def test_what_is_open_to_others_is_not(root, depth):
    root.parents[depth].chmod(0o755)
    with pytest.raises(PermissionError):
        open_root(root)


@pytest.mark.parametrize("depth", [-1, 0, 1])
def test_what_was_replaced_by_a_symlink_is_not(root, tmp_path, depth):
    victim = root if depth < 0 else root.parents[depth]
    victim.rename(tmp_path / "moved")
    victim.symlink_to(tmp_path / "moved")
    with pytest.raises(OSError):
        open_root(root)


def test_what_belongs_to_somebody_else_is_not(root):
    os.chown(root.parents[1], 12345, 12345)
    with pytest.raises(PermissionError):
        open_root(root)
