"""Configurations of node types. The verbs are listed in the door."""

from __future__ import annotations

import msgspec


class ConfigInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of the configuration of a node type; ``content`` is TOML. Version 0 is the empty one."""

    type: str
    version: int
    content: str = ""
    desc: str = ""
    author: str = ""
    time: float = 0.0
    hash: str = ""
    origin: str = ""


class SetConfigRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``force``: store it although it is the same as the newest."""

    type: str
    content: str
    desc: str = ""
    author: str = ""
    force: bool = False
    cluster: str = ""
    dry_run: bool = False


class ConfigRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``exact``: that very version. Otherwise the newest, if it is newer than ``version``."""

    type: str
    version: int = 0
    exact: bool = False
    cluster: str = ""


class ConfigVersionsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``type`` "": the newest version of each type; else all versions of that one, without content."""

    type: str = ""
    cluster: str = ""


class ConfigVersions(msgspec.Struct, frozen=True):
    versions: list[ConfigInfo]


class RollbackRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    version: int
    author: str = ""
    cluster: str = ""
    dry_run: bool = False
