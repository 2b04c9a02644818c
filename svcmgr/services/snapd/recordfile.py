"""A record as a file: JSON with a format number, checked when it is read as if a stranger had written it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from svcmgr.errors import BadInput
from svcmgr.fsutil import atomic_write, read_limited
from svcmgr.volume import Cost, Record

FORMAT = 1
_SIZE_MAX = 1 << 20


class _Cost(msgspec.Struct, frozen=True):
    seconds: float
    files: int
    copied_bytes: int
    shared_bytes: int


class _File(msgspec.Struct, frozen=True):
    """The fields of :class:`svcmgr.volume.Record`."""

    format: int
    name: str
    id: str
    volume_id: str
    created: float
    method: str
    consistency: str
    bricks: list[str]
    activated: bool
    origin: str
    description: str
    cost: _Cost
    skipped: list[str]
    volume_options: dict[str, str]


_decoder = msgspec.json.Decoder(_File)


def write(path: Path, record: Record) -> None:
    """Replace ``path``, durably. Raises StorageFailed."""
    atomic_write(path, encode(record), mode=0o600)


def encode(record: Record) -> bytes:
    """The content of its file."""
    facts: dict[str, Any] = {field: getattr(record, field) for field in _File.__struct_fields__ if field != "format"}
    cost = record.cost
    facts |= {
        "cost": _Cost(cost.seconds, cost.files, cost.copied_bytes, cost.shared_bytes),
        "bricks": list(record.bricks),
        "skipped": list(record.skipped),
        "volume_options": dict(record.volume_options),
    }
    data = msgspec.json.encode(_File(format=FORMAT, **facts))
    return msgspec.json.format(data, indent=1) + b"\n"


def read(path: Path) -> Record:
    """The record in ``path``.

    Raises:
        BadInput: it is no record of this format, or one that cannot be.
        OSError: it cannot be read.
    """
    try:
        file = _decoder.decode(read_limited(path, _SIZE_MAX))
    except msgspec.MsgspecError as error:
        raise BadInput(f"cannot read {path}: {error}", path=str(path)) from error
    if file.format != FORMAT:
        raise BadInput(f"cannot read {path}: format {file.format}, this version knows {FORMAT}", path=str(path))
    facts = {field: getattr(file, field) for field in _File.__struct_fields__ if field != "format"}
    facts["cost"] = Cost(file.cost.seconds, file.cost.files, file.cost.copied_bytes, file.cost.shared_bytes)
    return Record(**facts)
