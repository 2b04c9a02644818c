"""Which key a record has.

Theory of operation. A key is four letters that say what kind of record it is, and the record's id. Integers are
big-endian and of fixed width, so that the order of the bytes is the order of the numbers and a scan of a prefix comes
in the order of ids. Versions of a configuration are kept as 2^64 - 1 minus the version: the newest comes first. Keys
are injective and total on valid ids, so that a record whose key is not the key of its ids is known to be damaged.

Prefixes are those of deepseek-ai/3FS (src/common/kv/KeyPrefix-def.h); its little-endian integers are not kept. New are
``EVNT`` (event log), ``QUAR`` and ``QWHY`` (what fsck moved away, and why).

=========  ===============================================  =============================
``SING``   name                                             the lease, the routing version
``NODE``   u32 node                                         a node
``CHIF``   u32 chain                                        a chain
``CHIT``   u32 table, u32 version                           a version of a chain table
``CONF``   u8 length, node type, u64 2^64 - 1 - version     a version of a configuration
``UTGS``   universal id, UTF-8                              tags of a host
``TGIF``   u64 target                                       where a target was last
``EVNT``   u64 number                                       an event
``QUAR``   the old key, u64 revision                        a value as it was found
``QWHY``   the same                                         what is wrong with it
=========  ===============================================  =============================
"""

from __future__ import annotations

import struct

from svcmgr.errors import BadInput

SINGLE, NODE, CHAIN, TABLE, CONFIG = b"SING", b"NODE", b"CHIF", b"CHIT", b"CONF"
UNIVERSAL_TAGS, TARGET, EVENT, QUARANTINE, REASON = b"UTGS", b"TGIF", b"EVNT", b"QUAR", b"QWHY"
PREFIX_LENGTH = 4

LEASE = SINGLE + b"MgmtdLease"
ROUTING_VERSION = SINGLE + b"RoutingInfoVersion"
#: There while an import is under way, so that one that was cut short is not taken for a cluster.
IMPORTING = SINGLE + b"Importing"

#: Longest universal id in bytes, and longest node type in characters.
UNIVERSAL_ID_MAX, NODE_TYPE_MAX = 255, 32

_U32, _U32_U32, _U64 = struct.Struct(">I"), struct.Struct(">II"), struct.Struct(">Q")
_U64_MAX = 2**64 - 1

Ids = tuple[int | str, ...]


def node(node_id: int) -> bytes:
    return NODE + _pack(_U32, node_id)


def chain(chain_id: int) -> bytes:
    return CHAIN + _pack(_U32, chain_id)


def table(table_id: int, version: int) -> bytes:
    return TABLE + _pack(_U32_U32, table_id, version)


def tables(table_id: int) -> bytes:
    """The prefix of all versions of a chain table."""
    return TABLE + _pack(_U32, table_id)


def config(node_type: str, version: int) -> bytes:
    return configs(node_type) + _pack(_U64, _U64_MAX - version)


def configs(node_type: str) -> bytes:
    """The prefix of all versions of a node type's configuration, newest first."""
    name = node_type.encode()
    if not 0 < len(name) <= NODE_TYPE_MAX:
        raise BadInput(f"cannot make a key of node type {node_type[:40]!r}: give 1 to {NODE_TYPE_MAX} bytes")
    return CONFIG + bytes([len(name)]) + name


def universal_tags(universal_id: str) -> bytes:
    name = universal_id.encode(errors="surrogatepass")
    if not 0 < len(name) <= UNIVERSAL_ID_MAX:
        raise BadInput(f"cannot make a key of a universal id of {len(name)} bytes: give 1 to {UNIVERSAL_ID_MAX}")
    return UNIVERSAL_TAGS + name


def target(target_id: int) -> bytes:
    return TARGET + _pack(_U64, target_id)


def event(number: int) -> bytes:
    return EVENT + _pack(_U64, number)


def quarantined(prefix: bytes, key: bytes, revision: int) -> bytes:
    """Where ``key`` goes under QUARANTINE or REASON; the revision keeps two of one key apart."""
    return prefix + key + _pack(_U64, revision)


def ids_of(key: bytes) -> Ids:
    """The ids in a key of a record. Raises BadInput: no record has such a key."""
    prefix, rest = key[:PREFIX_LENGTH], key[PREFIX_LENGTH:]
    try:
        if prefix in (NODE, CHAIN):
            return _U32.unpack(rest)
        if prefix == TABLE:
            return _U32_U32.unpack(rest)
        if prefix in (TARGET, EVENT):
            return _U64.unpack(rest)
        if prefix == CONFIG:
            name, (complement,) = rest[1:-8], _U64.unpack(rest[-8:])
            if len(name) != rest[0]:
                raise ValueError
            return name.decode(), _U64_MAX - complement
        if prefix == UNIVERSAL_TAGS and rest:
            return (rest.decode(),)
        if key in (LEASE, ROUTING_VERSION, IMPORTING):
            return ()
    except (struct.error, ValueError, IndexError):
        pass
    raise BadInput(f"cannot read key {key[:60]!r}: it is of no record", key=key.hex())


def _pack(layout: struct.Struct, *numbers: int) -> bytes:
    try:
        return layout.pack(*numbers)
    except struct.error as error:
        raise BadInput(f"cannot make a key of {numbers}: {error}") from error
