"""Exports: a store as lines of JSON, and lines of JSON back as records. The way from one kind of store to another.

Theory of operation. The first line says what it is and its format, then comes each record in the order of its key, and
the last line has the number of records and the SHA-256 of all bytes before it, so that an export that was cut short or
edited is noticed. Records are checked as those of a store are: a line is a record exactly if a store could hold it, and
the same bytes come out when it is exported again. Revisions are not part of it. What is in quarantine stays behind, for
it is no record; who wants it copies the file (``backup``).

Every line is bounded, and so is their number, before anything is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import attrs
import msgspec

from svcmgr.errors import BadInput, Unsupported
from svcmgr.services.mgmtd.store import records
from svcmgr.services.mgmtd.store.census import Census
from svcmgr.services.mgmtd.store.protocol import VALUE_MAX, Entry, Put
from svcmgr.services.mgmtd.store.records import Record

FORMAT = 1
#: A record of VALUE_MAX in JSON, where a byte becomes ``\\u0000`` at worst, and some more. Bytes.
LINE_MAX = 6 * VALUE_MAX + 4096
RECORDS_MAX = 10_000_000

_NAMES = {kind.name: kind for kind in records.KINDS if kind.type is not records.Importing}


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    export: Literal["svcmgr-mgmtd"]
    format: Annotated[int, msgspec.Meta(ge=1)]
    created: float
    revision: int


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    record: msgspec.Raw


class _Footer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    records: int
    sha256: str


_header = msgspec.json.Decoder(_Header)
_line = msgspec.json.Decoder(_Line)
_footer = msgspec.json.Decoder(_Footer)
_readers = {name: msgspec.json.Decoder(kind.type) for name, kind in _NAMES.items()}


@attrs.frozen
class Dump:
    """An export that was read and is whole."""

    puts: tuple[Put, ...]
    sha256: str


def export(census: Census, utc: float) -> Iterator[bytes]:
    """The lines of an export made at ``utc``; each ends with a newline.

    Raises:
        BadInput: the store holds something bad, which an export would lose silently; run fsck with repair first.
    """
    if census.bad:
        bad = census.bad[0]
        raise BadInput(
            f"cannot export: {records.named(bad.entry.key)} is bad ({bad.why}), and {len(census.bad) - 1} more; "
            "run fsck with repair first"
        )
    digest = hashlib.sha256()
    found = sorted((key, record) for kind in _NAMES.values() for key, record in census.all(kind.type).items())
    header = _Header("svcmgr-mgmtd", FORMAT, utc, census.revision)
    for part in (header, *(_Line(records.KIND_OF[type(one)].name, _raw(one)) for _, one in found)):
        line = msgspec.json.encode(part) + b"\n"
        digest.update(line)
        yield line
    yield msgspec.json.encode(_Footer(len(found), digest.hexdigest())) + b"\n"


def _raw(record: Record) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(record))


def read(lines: Iterable[bytes]) -> Dump:
    """Read a whole export and check all of it.

    Args:
        lines: each with its newline and of at most LINE_MAX bytes; a longer one may come as its first LINE_MAX + 1.

    Raises:
        BadInput: it is none, was cut short or changed, has a bad record, one twice, or one out of order; the message
            has the line.
        Unsupported: a newer mgmtd wrote it.
    """
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        reader.feed(number, line)
    return reader.end()


@attrs.define
class _Reader:
    """Takes lines; knows a footer by its being the last."""

    census: Census = attrs.field(factory=lambda: Census(0))
    puts: list[Put] = attrs.field(factory=list)
    digest: Any = attrs.field(factory=hashlib.sha256)
    held: tuple[int, bytes] | None = None

    def feed(self, number: int, line: bytes) -> None:
        """The line before this one is now known not to be the last."""
        if len(line) > LINE_MAX or number > RECORDS_MAX + 2:
            raise _bad(number, f"too long: at most {RECORDS_MAX} records of {LINE_MAX} bytes")
        if self.held:
            self._take(*self.held)
        self.held = (number, line)

    def end(self) -> Dump:
        """Raises BadInput."""
        if self.held is None or self.held[0] < 2:
            raise _bad(1, "it is empty or has no end")
        footer = _parse(_footer, *self.held)
        if footer.records != len(self.puts) or footer.sha256 != self.digest.hexdigest():
            raise _bad(self.held[0], "records or digest differ: it was cut short or changed after it was written")
        return Dump(tuple(self.puts), footer.sha256)

    def _take(self, number: int, line: bytes) -> None:
        self.digest.update(line)
        if number == 1:
            self._header(line)
            return
        parsed = _parse(_line, number, line)
        if parsed.kind not in _NAMES:
            raise _bad(number, f"there is no kind of record {parsed.kind[:40]!r}")
        self._add(number, _parse(_readers[parsed.kind], number, bytes(parsed.record)))

    @staticmethod
    def _header(line: bytes) -> None:
        if (header := _parse(_header, 1, line)).format != FORMAT:
            raise Unsupported(f"cannot import: it has format {header.format}, this mgmtd knows {FORMAT}")

    def _add(self, number: int, record: Record) -> None:
        try:
            put = Put(record.key, records.encode(record))
        except (BadInput, OverflowError) as error:
            raise _bad(number, str(error)) from error
        if self.puts and self.puts[-1].key >= put.key:
            raise _bad(number, f"{records.named(put.key)} is there twice or not in order")
        self.census.add(Entry(put.key, put.value, 0))
        if self.census.bad:
            raise _bad(number, f"{records.named(put.key)}: {self.census.bad[0].why}")
        if len(put.value) > VALUE_MAX:
            raise _bad(number, f"{records.named(put.key)} has {len(put.value)} bytes, the most is {VALUE_MAX}")
        self.puts.append(put)


def _parse(decoder: msgspec.json.Decoder[Any], number: int, line: bytes) -> Any:
    try:
        return decoder.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _bad(number, str(error)) from error


def _bad(number: int, why: str) -> BadInput:
    return BadInput(f"cannot import: line {number}: {why}", line=number)
