"""What is stored under the keys, and how it becomes bytes.

Theory of operation. A value is the byte C1 (which MessagePack never uses), a byte that is the format, and the record as
a MessagePack map. Reading checks everything: types, ranges, unknown fields, and that the key is the one of the ids in
the record. A record of a newer format is not damaged: it is refused as a whole (Unsupported) and never written again,
so that an older mgmtd cannot lose what it does not understand. Every format will be C1, its number and MessagePack;
what is not, is damage, so that garbage is not taken for the future. Fields are added by a new format only.

States and types of nodes are the numbers of deepseek-ai/3FS (src/fbs/mgmtd/MgmtdTypes.h); 32 is "created", a target of
a chain that never served. Client sessions and local states are not stored; they are heard again after an election.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import attrs
import msgspec

from svcmgr.errors import BadInput, Unsupported
from svcmgr.services.mgmtd.store import keys
from svcmgr.services.mgmtd.store.faults import StoreCorrupt

FORMAT = 1
_MARK = 0xC1

U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Id32 = Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
#: MessagePack itself ends at 2^64 - 1; bounds above 2^63 cannot be said to msgspec.
U64 = Annotated[int, msgspec.Meta(ge=0)]
Id64 = Annotated[int, msgspec.Meta(ge=1)]
Utc = Annotated[float, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400 * 366)]
Word = Annotated[str, msgspec.Meta(max_length=255)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
NodeTypeNumber = Literal[0, 1, 2, 3, 4]
NodeTypeName = Literal["MGMTD", "META", "STORAGE", "CLIENT", "FUSE"]
PublicStateNumber = Literal[1, 2, 4, 8, 16, 32]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something inside a record."""


class Tag(_Part, frozen=True):
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    value: Annotated[str, msgspec.Meta(max_length=1024)] = ""


Tags = Annotated[tuple[Tag, ...], msgspec.Meta(max_length=256)]


class Endpoint(_Part, frozen=True):
    transport: Word
    address: Word


class ServiceGroup(_Part, frozen=True):
    services: Annotated[tuple[Word, ...], msgspec.Meta(max_length=64)]
    endpoints: Annotated[tuple[Endpoint, ...], msgspec.Meta(max_length=64)]


class ChainTarget(_Part, frozen=True):
    target_id: Id64
    state: PublicStateNumber


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has a key of its own."""

    @property
    def key(self) -> bytes:
        """Where it is stored. Raises BadInput: its ids can have no key."""
        raise NotImplementedError


class Node(Record, frozen=True):
    """What must outlive the primary of a node."""

    node_id: Id32
    type: NodeTypeNumber
    hostname: Word = ""
    service_groups: Annotated[tuple[ServiceGroup, ...], msgspec.Meta(max_length=32)] = ()
    tags: Tags = ()

    @property
    def key(self) -> bytes:
        return keys.node(self.node_id)


class Lease(Record, frozen=True):
    """Who is primary. ``beat`` rises with every extension, so that others see it live without comparing clocks.

    ``epoch`` is the fencing number: each taking of the lease raises it, no two primaries have the same.
    """

    epoch: Id64
    owner: Node
    incarnation: Word
    release: Word
    beat: U64
    length_s: Seconds
    started: Utc
    extended: Utc
    released: bool = False

    @property
    def key(self) -> bytes:
        return keys.LEASE


class RoutingVersion(Record, frozen=True):
    """The newest version of the routing information; 0 when it was never stored."""

    version: U64

    @property
    def key(self) -> bytes:
        return keys.ROUTING_VERSION


class Chain(Record, frozen=True):
    """A chain with the public states of its targets, head first."""

    chain_id: Id32
    version: Id32
    targets: Annotated[tuple[ChainTarget, ...], msgspec.Meta(min_length=1, max_length=64)]
    preferred: Annotated[tuple[Id64, ...], msgspec.Meta(max_length=64)] = ()

    @property
    def key(self) -> bytes:
        return keys.chain(self.chain_id)


class ChainTable(Record, frozen=True):
    """One version of a chain table; it never changes."""

    table_id: Id32
    version: Id32
    chains: Annotated[tuple[Id32, ...], msgspec.Meta(min_length=1)]
    desc: Text = ""

    @property
    def key(self) -> bytes:
        return keys.table(self.table_id, self.version)


class Config(Record, frozen=True):
    """One version of the configuration of all nodes of a type. ``origin`` says what it was made from, if anything."""

    node_type: NodeTypeName
    version: Id64
    content: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    desc: Text = ""
    author: Word = ""
    created: Utc = 0.0
    origin: Word = ""

    @property
    def key(self) -> bytes:
        return keys.config(self.node_type, self.version)


class UniversalTags(Record, frozen=True):
    """Tags of a client host, by the id its sessions give."""

    universal_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    tags: Tags = ()

    @property
    def key(self) -> bytes:
        return keys.universal_tags(self.universal_id)


class Target(Record, frozen=True, gc=False):
    """Where a target was seen last."""

    target_id: Id64
    node_id: Id32
    disk_index: U32 | None = None

    @property
    def key(self) -> bytes:
        return keys.target(self.target_id)


class Event(Record, frozen=True):
    """A change, with its cause. ``before`` and ``after`` are what changed, in words for people."""

    number: Id64
    utc: Utc
    kind: Word
    subject: Word
    cause: Text
    routing_version: U64 = 0
    before: Text = ""
    after: Text = ""

    @property
    def key(self) -> bytes:
        return keys.event(self.number)


class Importing(Record, frozen=True):
    """An import is under way, or was cut short."""

    sha256: Word
    started: Utc

    @property
    def key(self) -> bytes:
        return keys.IMPORTING


class Reason(_Part, frozen=True):
    """Why fsck moved the value beside this one away, and from where. Under ``QWHY``, in the form of a record."""

    key: bytes
    why: Text
    utc: Utc


@attrs.frozen
class Kind:
    """A kind of record: its name in messages and exports, its prefix or, of a single one, its key."""

    name: str
    prefix: bytes
    type: type[Record]
    decoder: msgspec.msgpack.Decoder[Any]


def _kind(name: str, prefix: bytes, record: type[Record]) -> Kind:
    return Kind(name, prefix, record, msgspec.msgpack.Decoder(record))


KINDS: tuple[Kind, ...] = (
    _kind("lease", keys.LEASE, Lease),
    _kind("routing-version", keys.ROUTING_VERSION, RoutingVersion),
    _kind("importing", keys.IMPORTING, Importing),
    _kind("node", keys.NODE, Node),
    _kind("chain", keys.CHAIN, Chain),
    _kind("chain-table", keys.TABLE, ChainTable),
    _kind("config", keys.CONFIG, Config),
    _kind("universal-tags", keys.UNIVERSAL_TAGS, UniversalTags),
    _kind("target", keys.TARGET, Target),
    _kind("event", keys.EVENT, Event),
)
_BY_PREFIX: Mapping[bytes, Kind] = {kind.prefix: kind for kind in KINDS}
KIND_OF: Mapping[type[Record], Kind] = {kind.type: kind for kind in KINDS}

_encoder = msgspec.msgpack.Encoder()
_reason_decoder = msgspec.msgpack.Decoder(Reason)


def encode(record: Record | Reason) -> bytes:
    """The value to store."""
    return bytes([_MARK, FORMAT]) + _encoder.encode(record)


def decode(key: bytes, value: bytes) -> Record:
    """The record of an entry.

    Raises:
        StoreCorrupt: it is none, cannot be one, or belongs under another key.
        Unsupported: a newer mgmtd wrote it.
    """
    kind = _BY_PREFIX.get(key[: keys.PREFIX_LENGTH]) or _BY_PREFIX.get(key)
    if kind is None:
        raise _corrupt(key, "no record has such a key")
    record: Record = _decoded(key, value, kind.decoder)
    try:
        agrees = record.key == key
    except BadInput:
        agrees = False
    if not agrees:
        raise _corrupt(key, f"the {kind.name} in it belongs under another key")
    if wrong := judge(record):
        raise _corrupt(key, f"the {kind.name} in it {wrong}")
    return record


def decode_reason(key: bytes, value: bytes) -> Reason:
    """What is stored under ``QWHY``. Raises StoreCorrupt, Unsupported."""
    reason: Reason = _decoded(key, value, _reason_decoder)
    return reason


def _decoded(key: bytes, value: bytes, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
    if len(value) < 3 or value[0] != _MARK or not value[1]:
        raise _corrupt(key, f"no record begins with {value[:8].hex() or 'nothing'}")
    try:
        if value[1] > FORMAT:
            msgspec.msgpack.decode(value[2:])
            raise _newer(key, value[1])
        return decoder.decode(memoryview(value)[2:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _corrupt(key, str(error)) from error


def judge(record: Record) -> str:
    """What is wrong with a record that its types cannot say, as the end of a sentence; empty when nothing is."""
    check = _JUDGES.get(type(record))
    return check(record) if check else ""


def _judge_chain(chain: Chain) -> str:
    ids = [target.target_id for target in chain.targets]
    if len(ids) > 1 and len(set(ids)) != len(ids):
        return "has a target twice"
    if chain.preferred and (len(set(chain.preferred)) != len(chain.preferred) or not set(ids) >= set(chain.preferred)):
        return "prefers a target twice, or one that it does not have"
    return ""


def _judge_config(config: Config) -> str:
    return "" if config.sha256 == sha256_of(config.content) else "has another content than its digest says"


_JUDGES: Mapping[type[Record], Callable[[Any], str]] = {Chain: _judge_chain, Config: _judge_config}


def sha256_of(content: str) -> str:
    """The digest of a configuration, as hexadecimal digits."""
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()


def named(key: bytes) -> str:
    """A key in words, for messages: ``chain 7``, ``config STORAGE 3``."""
    kind = _BY_PREFIX.get(key[: keys.PREFIX_LENGTH]) or _BY_PREFIX.get(key)
    try:
        ids = keys.ids_of(key)
    except BadInput:
        kind = None
    if kind is None:
        return f"key {key[:60]!r}"
    return " ".join([kind.name, *(str(one) if isinstance(one, int) else repr(one) for one in ids)])


def _newer(key: bytes, found: int) -> Unsupported:
    return Unsupported(
        f"cannot read {named(key)}: it has format {found}, this mgmtd knows {FORMAT}; start the newer mgmtd",
        key=key.hex(),
    )


def _corrupt(key: bytes, why: str) -> StoreCorrupt:
    return StoreCorrupt(f"cannot use {named(key)} of the store: {why}", key=key.hex(), why=why)
