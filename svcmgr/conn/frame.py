"""Frames: what two processes put on a connection, as bytes (docs/wire-protocol.md is the full story).

Theory of operation. A frame is a 4-byte big-endian length and that many bytes of MessagePack. The body is an
array whose first element is a small integer, the frame's type; fields follow by position, so that a frame
costs few bytes, and a newer peer may append fields which an older one skips. Parameters and results stay raw
here: the frame layer finds their extent and whoever knows the verb decodes them.

A :class:`FrameDecoder` takes bytes in any pieces and gives whole frames. It trusts nothing: a length over the
limit is refused from the four length bytes alone, before anything of that frame is kept, and a body that is
not a frame poisons the decoder, since a stream that was wrong once has no next frame. What was decoded before
the bad bytes is still handed out, so that the result does not depend on how the bytes were split.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec

from svcmgr.errors import BadInput, ConnectionFault, FrameTooLarge, ProtocolFault, SvcmgrError

#: Largest body of a frame, in bytes, unless both sides agree on less. 500 services make a status of 150 KB.
MAX_FRAME: Final = 16 * 1024 * 1024
#: Calls in flight on one connection, unless the peer's hello says less.
MAX_IN_FLIGHT: Final = 64
#: No side may accept less: a fault must fit.
MIN_FRAME: Final = 1024
#: Characters of a verb, topic, name or error code.
MAX_NAME: Final = 255
#: Bytes of the length field.
HEADER_SIZE: Final = 4
#: The id of a :class:`Fault` that is about the connection, not about a call. The sender closes after it.
CONNECTION_FAULT_ID: Final = 0

_HEADER = struct.Struct(">I")
_Unsigned = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Text = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]

# What arrives is raw; what is sent may be any value msgspec can encode, so that it is encoded only once.
if TYPE_CHECKING:
    _Body: TypeAlias = Any
else:
    _Body = msgspec.Raw


class Limits(msgspec.Struct, frozen=True):
    """What one side accepts: the largest body in bytes, and calls in flight."""

    max_frame: int = MAX_FRAME
    max_in_flight: int = MAX_IN_FLIGHT


class Hello(msgspec.Struct, array_like=True, tag=0, frozen=True):
    """The first frame in each direction. Limits are what the *sender of the hello* accepts."""

    protocol: _Unsigned
    name: _Text
    incarnation: _Unsigned = 0
    max_frame: Annotated[int, msgspec.Meta(ge=MIN_FRAME)] = MAX_FRAME
    max_in_flight: _Positive = MAX_IN_FLIGHT


class Call(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """A question. ``timeout_ms`` is how long the caller will wait; 0 means it did not say."""

    id: _Positive
    verb: _Text
    params: _Body
    timeout_ms: _Unsigned = 0


class Reply(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """The answer to the call of that id."""

    id: _Positive
    result: _Body


class Fault(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """The error that answers the call of that id; id 0 is about the connection, which closes."""

    id: _Unsigned
    code: _Text
    message: str
    details: dict[str, Any] = {}


class Cast(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """A request that is not answered, whatever becomes of it."""

    verb: _Text
    params: _Body


class Event(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """A fact pushed to a peer that subscribed to the topic."""

    topic: _Text
    payload: _Body


class Ping(msgspec.Struct, array_like=True, tag=6, frozen=True):
    """Are you there? Answered at once by a pong with the same nonce."""

    nonce: _Unsigned


class Pong(msgspec.Struct, array_like=True, tag=7, frozen=True):
    """The answer to a ping."""

    nonce: _Unsigned


Frame = Hello | Call | Reply | Fault | Cast | Event | Ping | Pong

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)
# What msgspec raises on hostile input: its own errors, UnicodeDecodeError (a ValueError) and RecursionError.
_UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_UNENCODABLE = (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError)


def encode(frame: Frame, max_frame: int = MAX_FRAME) -> bytes:
    """``frame`` as it goes over the wire, length included.

    Args:
        max_frame: largest body in bytes, what the peer said it accepts.

    Raises:
        BadInput: it holds a value that MessagePack cannot carry, or a name over MAX_NAME.
        FrameTooLarge: its body is over ``max_frame``.
    """
    name = _name_of(frame)
    if name is not None and len(name) > MAX_NAME:
        raise BadInput(f"cannot send {name[:20]!r}...: {len(name)} characters, the limit is {MAX_NAME}")
    try:
        body = _encoder.encode(frame)
    except _UNENCODABLE as error:
        raise BadInput(f"cannot encode {_describe(frame)}: {error}") from error
    if len(body) > max_frame:
        raise FrameTooLarge(
            f"cannot send {_describe(frame)}: {len(body)} bytes, the limit of this connection is {max_frame}",
            size=len(body),
            limit=max_frame,
        )
    return _HEADER.pack(len(body)) + body


_NAME_FIELDS: dict[type, str] = {Hello: "name", Call: "verb", Cast: "verb", Event: "topic", Fault: "code"}


def _name_of(frame: Frame) -> str | None:
    field = _NAME_FIELDS.get(type(frame))
    return getattr(frame, field) if field else None


def _describe(frame: Frame) -> str:
    name = _name_of(frame)
    return f"{type(frame).__name__.lower()} {name!r}" if name else type(frame).__name__.lower()


def decode_value(data: Any, kind: Any, what: str, error: type[SvcmgrError] = BadInput) -> Any:
    """Decode raw parameters, a result or a payload into ``kind``.

    Raises:
        error: it does not fit; ``details["field"]`` is the path of the bad field, e.g. ``$.timeout_s``.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except _UNDECODABLE as problem:
        text, _, field = str(problem).partition(" - at `")
        field = field.rstrip("`") or "$"
        raise error(f"cannot accept {what}: {text} (at {field})", field=field) from problem


class FrameDecoder:
    """Bytes in any pieces -> frames.

    Once something was wrong, ``fault`` is set and nothing more is decoded.
    """

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self.max_frame = max_frame
        self.fault: ConnectionFault | None = None
        self._buffer = bytearray()

    @property
    def unfinished(self) -> int:
        """Bytes held of a frame that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Take ``data``, give the frames completed by it; nothing of ``data`` is referred to afterwards.

        Frames before a fault are returned first: then look at ``fault``, or call again.

        Raises:
            FrameTooLarge: a length over ``max_frame``.
            ProtocolFault: a body that is not a frame.
        """
        frames: list[Frame] = []
        if self.fault is None:
            if self._buffer:
                self._buffer += data
                used = self._split(self._buffer, frames)
                del self._buffer[:used]
            else:
                used = self._split(data, frames)
                if used < len(data):
                    self._buffer += memoryview(data)[used:]
        if self.fault is not None:
            self._buffer.clear()
            if not frames:
                raise self.fault
        return frames

    def _split(self, data: bytes | bytearray | memoryview, frames: list[Frame]) -> int:
        # Returns how many bytes are done with. Bodies are copied out: raw fields refer to their body.
        offset = 0
        with memoryview(data) as view:
            end = len(view)
            while end - offset >= HEADER_SIZE:
                (length,) = _HEADER.unpack_from(view, offset)
                if length > self.max_frame:
                    self._too_large(length)
                    break
                start, stop = offset + HEADER_SIZE, offset + HEADER_SIZE + length
                if stop > end:
                    break
                try:
                    frames.append(_decoder.decode(bytes(view[start:stop])))
                except _UNDECODABLE as error:
                    self.fault = ProtocolFault(f"cannot read a frame of {length} bytes: {error}", size=length)
                    break
                offset = stop
        return offset

    def _too_large(self, length: int) -> None:
        self.fault = FrameTooLarge(
            f"cannot accept a frame of {length} bytes: the limit of this connection is {self.max_frame}",
            size=length,
            limit=self.max_frame,
        )
