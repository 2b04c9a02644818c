"""Releases: which of two programs is the older one.

Theory of operation. A mgmtd of an older release must not take over what a newer one wrote, so releases are ordered.
There are two forms, and any of the newer form is later than all of the older one: ``1.2.3``, and a tag date with a kind
and a patch number, ``250228-rel-1-77-0a1b2c3d``. At the same tag date a release comes before the development builds
that follow it. Pipeline and commit say where a build came from and take no part in comparing.
Form and order: deepseek-ai/3FS: src/common/app/AppInfo.cc.
"""

from __future__ import annotations

import enum
import re

import attrs

from svcmgr.errors import BadInput

_DATED = re.compile(r"([0-9]{6,8})-(rel|dev)-([0-9]{1,9})-([0-9]{1,18})-([0-9a-f]{8})", re.ASCII)
_PLAIN = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)


class Form(enum.IntEnum):
    """How a release is written, older form first."""

    PLAIN = 0
    DATED = 1


@attrs.frozen(order=True)
class ReleaseVersion:
    """A release. ``numbers``: major, minor, patch; or tag date, 0 (release) or 1 (development build), patch."""

    form: Form
    numbers: tuple[int, int, int]
    pipeline: int = attrs.field(default=0, eq=False, order=False)
    commit: str = attrs.field(default="", eq=False, order=False)

    def __str__(self) -> str:
        first, second, third = self.numbers
        if self.form is Form.PLAIN:
            return f"{first}.{second}.{third}"
        return f"{first}-{('rel', 'dev')[second]}-{third}-{self.pipeline}-{self.commit}"


def parse_release(text: str) -> ReleaseVersion:
    """``1.2.3`` or ``250228-rel-1-77-0a1b2c3d``. Raises BadInput."""
    if plain := _PLAIN.fullmatch(text):
        return ReleaseVersion(Form.PLAIN, (int(plain[1]), int(plain[2]), int(plain[3])))
    if dated := _DATED.fullmatch(text):
        kind = ("rel", "dev").index(dated[2])
        return ReleaseVersion(Form.DATED, (int(dated[1]), kind, int(dated[3])), int(dated[4]), dated[5])
    raise BadInput(f"cannot read {text[:60]!r} as a release: write 1.2.3 or 250228-rel-1-77-0a1b2c3d")
