"""A client without an event loop, for command lines: one socket, one call at a time.

Imports stay light on purpose (no asyncio, no attrs): a command line pays for them on every run. The hello
goes out together with the first call, so that a single question costs a single round trip.
"""

from __future__ import annotations

import errno
import math
import os
import socket
from typing import Any

from svcmgr import PROTOCOL, errors
from svcmgr.clock import Clock, SystemClock
from svcmgr.conn.frame import (
    CONNECTION_FAULT_ID,
    MAX_FRAME,
    Call,
    Fault,
    Frame,
    FrameDecoder,
    Hello,
    Ping,
    Pong,
    Reply,
    decode_value,
    encode,
)
from svcmgr.errors import BadInput, Disconnected, FrameTimeout, NoSvcmgrd, NotPermitted, ProtocolFault, SvcmgrError

_READ_SIZE = 256 * 1024


class BlockingClient:
    """A context manager around one connection to the socket at ``path``.

    Args:
        path: of the socket file, already short (``paths.socket_path``).
        timeout: of connecting and of calls that name none, in seconds.
        name: told to the server, for its logs.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, timeout: float = 10.0, name: str = "client", clock: Clock | None = None
    ) -> None:
        self._path = os.fspath(path)
        self._timeout = timeout
        self._name = name
        self._clock = clock or SystemClock()
        self._socket: socket.socket | None = None
        self._decoder = FrameDecoder()
        self._frames: list[Frame] = []
        self._hello: Hello | None = None
        self._unsent = b""
        self._last_id = 0

    def __enter__(self) -> BlockingClient:
        self.connect()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect; idempotent.

        Raises:
            NoSvcmgrd: nobody listens there.
            NotPermitted: the file's permissions refuse us.
            FrameTimeout: the listener's queue is full and stays so.
        """
        if self._socket is not None:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self._timeout)
            sock.connect(self._path)
        except OSError as error:
            sock.close()
            raise self._connect_error(error) from error
        self._socket = sock
        self._unsent = encode(Hello(PROTOCOL, self._name))

    def close(self) -> None:
        """Hang up. Idempotent; ``connect`` starts anew."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
        self._decoder = FrameDecoder()
        self._frames.clear()
        self._hello = None

    def call(self, verb: str, params: Any = None, *, timeout: float | None = None, type: Any = Any) -> Any:
        """Ask and wait for the answer, decoded as ``type``.

        Args:
            timeout: seconds for the whole call; None takes the client's; math.inf waits for ever.

        Raises:
            Disconnected: the server hung up; the call may or may not have been carried out.
            FrameTimeout: no answer in time. The client stays usable: a late answer is skipped.
            ProtocolFault, FrameTooLarge: what came is not this protocol, or the answer does not fit ``type``.
            BadInput: the request cannot be encoded.
            SvcmgrError: what the server answered, as the class of its code.
        """
        self.connect()
        seconds = self._timeout if timeout is None else timeout
        if not seconds > 0:
            raise BadInput(f"cannot call {verb!r}: a timeout of {seconds} s; it must be over 0")
        self._last_id += 1
        milliseconds = 0 if seconds == math.inf else max(1, math.ceil(seconds * 1000))
        limit = self._hello.max_frame if self._hello else MAX_FRAME
        data = encode(Call(self._last_id, verb, params, milliseconds), limit)
        deadline = self._clock.monotonic() + seconds
        try:
            self._send(data, deadline)
            result = self._answer(self._last_id, deadline)
        except TimeoutError:
            raise FrameTimeout(
                f"cannot get an answer to {verb!r} from {self._path} within {seconds:g} s; "
                "the call may still be carried out",
                verb=verb,
                timeout_s=seconds,
            ) from None
        except OSError as error:
            self.close()
            raise self._hung_up(error.strerror or "error") from error
        return decode_value(result, type, f"the answer to {verb!r}", ProtocolFault)

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._socket is not None
        data, self._unsent = self._unsent + data, b""
        view = memoryview(data)
        while view:
            self._socket.settimeout(self._left(deadline))
            try:
                view = view[self._socket.send(view) :]
            except TimeoutError:
                # Half a frame may be out: the stream cannot be used any more.
                self.close()
                raise
            except (BrokenPipeError, ConnectionResetError):
                return  # its last words may wait to be read

    def _answer(self, call_id: int, deadline: float) -> Any:
        while True:
            frame = self._next(deadline)
            if isinstance(frame, Reply):
                if frame.id == call_id:
                    return frame.result
            elif isinstance(frame, Fault):
                if frame.id == CONNECTION_FAULT_ID:
                    self.close()
                if frame.id in (call_id, CONNECTION_FAULT_ID):
                    raise errors.from_wire(frame.code, frame.message, frame.details)
            elif isinstance(frame, Ping):
                self._send(encode(Pong(frame.nonce)), deadline)

    def _next(self, deadline: float) -> Frame:
        while not self._frames:
            assert self._socket is not None
            fault = self._decoder.fault
            if fault is not None:
                self.close()
                raise fault
            self._socket.settimeout(self._left(deadline))
            data = self._socket.recv(_READ_SIZE)
            if not data:
                self.close()
                raise self._hung_up("end of file")
            try:
                self._frames = self._decoder.feed(data)
            except SvcmgrError:
                self.close()
                raise
            self._frames.reverse()
        return self._greeted(self._frames.pop())

    def _greeted(self, frame: Frame) -> Frame:
        if isinstance(frame, Hello):
            if frame.protocol != PROTOCOL:
                self.close()
                raise ProtocolFault(
                    f"cannot talk to {self._path}: it speaks protocol version {frame.protocol}, "
                    f"we speak {PROTOCOL}; update the older side",
                    protocol=frame.protocol,
                )
            self._hello = frame
        elif self._hello is None and not (isinstance(frame, Fault) and frame.id == CONNECTION_FAULT_ID):
            self.close()
            raise ProtocolFault(f"cannot talk to {self._path}: its first frame is not a hello")
        return frame

    def _left(self, deadline: float) -> float | None:
        if deadline == math.inf:
            return None
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _hung_up(self, why: str) -> Disconnected:
        return Disconnected(
            f"cannot get an answer from {self._path}: the connection ended ({why}); "
            "the call may or may not have been carried out"
        )

    def _connect_error(self, error: OSError) -> SvcmgrError:
        if isinstance(error, TimeoutError):
            return FrameTimeout(f"cannot connect to {self._path} within {self._timeout:g} s: its queue is full")
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
            return NoSvcmgrd(
                f"cannot reach svcmgrd at {self._path}: nobody listens there ({error.strerror}); start svcmgrd",
                path=self._path,
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return NotPermitted(f"cannot connect to {self._path}: {error.strerror}", path=self._path)
        return Disconnected(f"cannot connect to {self._path}: {error.strerror or error}", path=self._path)
