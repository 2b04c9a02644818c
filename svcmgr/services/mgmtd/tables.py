"""Chain tables: numbered lists of chains that files refer to.

Theory of operation. A file remembers (table, version, index), so what a version of a table says must never change, and
a version must never be used twice. Whatever differs makes the newest version plus one; what does not differ makes
nothing. An index counts from 1 and wraps around the table, so that a file may stripe over more chains than there are.
Rules: deepseek-ai/3FS: src/fbs/mgmtd/RoutingInfo.cc for references, its pull request 413 for versions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import ids
from svcmgr.services.mgmtd.chain import Chain
from svcmgr.services.mgmtd.errors import ChainNotFound, InvalidChainTable

#: Chains in one table; ten times the largest cluster that this is tested with.
CHAINS_MAX = 1_000_000
#: Longest description, characters.
DESC_MAX = 1000

#: All versions of all tables: table id -> version -> table.
Tables = Mapping[int, Mapping[int, "ChainTable"]]


@attrs.frozen
class ChainTable:
    """One version of a table. Raises BadInput for an id or version out of range, and when it has no chain."""

    table_id: int = attrs.field(validator=ids.TABLE_ID.validate)
    version: int = attrs.field(validator=ids.TABLE_VERSION.validate)
    chains: tuple[int, ...] = attrs.field(converter=tuple[int, ...])
    desc: str = ""

    @chains.validator
    def _check_chains(self, _: object, chains: tuple[int, ...]) -> None:
        if not chains:
            raise BadInput(f"cannot have chain table {self.table_id} without chains: give at least one")
        for chain in (min(chains), max(chains)):
            ids.CHAIN_ID.check(chain)


@attrs.frozen
class ChainRef:
    """Where a file's data is. Table 0, version 0: ``index`` is a chain id. Version 0 of a table: its newest."""

    table_id: int
    version: int
    index: int


@attrs.frozen
class TableSetting:
    """A table that is asked for. An empty ``desc`` keeps the one that is there."""

    table_id: int
    chains: Sequence[int]
    desc: str = ""


def newest(versions: Mapping[int, ChainTable]) -> ChainTable | None:
    """The table of the highest version."""
    return versions[max(versions)] if versions else None


def resolve(ref: ChainRef, tables: Tables, chains: Mapping[int, Chain]) -> Chain | None:
    """The chain that ``ref`` means; None when there is no such table, version, index or chain."""
    if ref.table_id == 0 and ref.version == 0:
        return chains.get(ref.index)
    versions = tables.get(ref.table_id, {})
    table = versions.get(ref.version) if ref.version else newest(versions)
    if table is None or ref.index < 1:
        return None
    return chains.get(table.chains[(ref.index - 1) % len(table.chains)])


def next_table(setting: TableSetting, versions: Mapping[int, ChainTable], chains: Mapping[int, Chain]) -> ChainTable:
    """The table to store, or the newest one itself when it says the same already.

    ``versions`` are those of this table id.

    Raises:
        ChainNotFound: a chain is not there.
        InvalidChainTable: no chain, one twice, chains of different lengths, a bad id, too long.
    """
    _check(setting, chains)
    current = newest(versions)
    desc = setting.desc or (current.desc if current else "")
    if current and current.chains == tuple(setting.chains) and current.desc == desc:
        return current
    return ChainTable(setting.table_id, current.version + 1 if current else 1, setting.chains, desc)


def _check(setting: TableSetting, chains: Mapping[int, Chain]) -> None:
    name = f"cannot set chain table {str(setting.table_id)[:40]}"
    if not ids.TABLE_ID.first <= setting.table_id <= ids.TABLE_ID.last:
        raise InvalidChainTable(f"{name}: give an id from {ids.TABLE_ID.first} to {ids.TABLE_ID.last}")
    if not 0 < len(setting.chains) <= CHAINS_MAX:
        raise InvalidChainTable(f"{name} to {len(setting.chains)} chains: give 1 to {CHAINS_MAX}")
    if len(setting.desc) > DESC_MAX:
        raise InvalidChainTable(f"{name}: its description has {len(setting.desc)} characters, give at most {DESC_MAX}")
    missing = next((chain for chain in setting.chains if chain not in chains), None)
    if missing is not None:
        raise ChainNotFound(f"{name}: there is no chain {str(missing)[:40]}; set the chain first")
    if len(set(setting.chains)) != len(setting.chains):
        ((twice, _),) = Counter(setting.chains).most_common(1)
        raise InvalidChainTable(f"{name}: chain {twice} is in it twice; name each once")
    _check_lengths(name, [chains[chain] for chain in setting.chains])


def _check_lengths(name: str, chains: Sequence[Chain]) -> None:
    first = chains[0]
    odd = next((chain for chain in chains if len(chain.targets) != len(first.targets)), None)
    if odd is not None:
        raise InvalidChainTable(
            f"{name}: chain {first.chain_id} has {len(first.targets)} targets and chain {odd.chain_id} has "
            f"{len(odd.targets)}; a table holds chains of one length"
        )
