"""Chains, chain tables and targets."""

from __future__ import annotations

import msgspec


class ChainTargetInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    target: int
    public: str
    local: str = "OFFLINE"
    node: int | None = None


class ChainInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """``status``: SERVING, SERVING(k/n), SYNCING, UNAVAILABLE or CREATED. ``tables``: those that name it."""

    chain: int
    version: int
    status: str
    targets: list[ChainTargetInfo]
    preferred: list[int] = []
    tables: list[int] = []


class ChainSettingInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    chain: int
    targets: list[int]
    keep_order: bool = False


class SetChainsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    chains: list[ChainSettingInfo]
    cluster: str = ""
    dry_run: bool = False


class ChainRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    chain: int
    cluster: str = ""


class ChainsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``table`` 0: all chains. ``version`` 0: the newest of the table."""

    ids: list[int] = []
    table: int = 0
    version: int = 0
    cluster: str = ""


class ChainsReply(msgspec.Struct, frozen=True):
    chains: list[ChainInfo]


class SetTableRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    table: int
    chains: list[int]
    desc: str = ""
    cluster: str = ""
    dry_run: bool = False


class TableInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    table: int
    version: int
    chains: list[int]
    replicas: int = 0
    desc: str = ""


class TablesRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version``: 0 the newest, -1 all."""

    table: int = 0
    version: int = 0
    cluster: str = ""


class TablesReply(msgspec.Struct, frozen=True):
    tables: list[TableInfo]


class UpdateChainRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``mode``: ADD or REMOVE."""

    chain: int
    target: int
    mode: str
    cluster: str = ""
    dry_run: bool = False


class RotateRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``force``: a step towards the preferred order although less redundancy is left than the guard allows."""

    chain: int
    force: bool = False
    cluster: str = ""
    dry_run: bool = False


class PreferRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    chain: int
    order: list[int]
    cluster: str = ""
    dry_run: bool = False


class Explanation(msgspec.Struct, frozen=True):
    """``lines``: one sentence for each target, and what would move it."""

    chain: ChainInfo
    lines: list[str]


class TargetInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """``role``: HEAD, MIDDLE or TAIL by position; "" for an orphan, which has no chain."""

    target: int
    public: str = ""
    local: str = "OFFLINE"
    chain: int = 0
    role: str = ""
    node: int | None = None
    disk: int | None = None
    used: int = 0
    low_space: bool = False


class TargetsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    chain: int = 0
    node: int = 0
    cluster: str = ""


class TargetsReply(msgspec.Struct, frozen=True):
    targets: list[TargetInfo]
