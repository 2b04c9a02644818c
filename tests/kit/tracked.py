"""The files of the project: what git tracks, or what a source archive holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NOT_OURS = frozenset({".venv", ".git", "build", "dist", "demo", "__pycache__"})


def tracked_files() -> list[Path]:
    """Every file that git tracks or would (not the ignored ones); without git, every file outside of build folders."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        every = (path for path in ROOT.rglob("*") if path.is_file())
        return sorted(p for p in every if not _NOT_OURS.intersection(p.relative_to(ROOT).parts))
    return sorted(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def text_files() -> list[Path]:
    """The tracked files that are UTF-8 text without NUL."""
    return [path for path in tracked_files() if _is_text(path.read_bytes())]


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content
