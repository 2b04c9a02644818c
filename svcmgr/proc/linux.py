"""System calls that the standard library does not offer."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct

from svcmgr.errors import NotPermitted
from svcmgr.proc.identity import ExitStatus

#: PR_SET_CHILD_SUBREAPER of linux/prctl.h, Linux 3.4.
_PR_SET_CHILD_SUBREAPER = 36
#: struct pidfd_info of linux/pidfd.h up to exit_code: mask, cgroupid, twelve 32-bit fields.
_PIDFD_INFO = struct.Struct("=QQ11Ii")
#: _IOWR(0xFF, 11, struct pidfd_info) with the size of its first version, 64 bytes.
_PIDFD_GET_INFO = (3 << 30) | (_PIDFD_INFO.size << 16) | (0xFF << 8) | 11
#: Ask for, and told of, the exit code: Linux 6.15.
_PIDFD_INFO_EXIT = 1 << 3


def set_subreaper() -> None:
    """Make orphaned descendants of this process its own children (PR_SET_CHILD_SUBREAPER(2const)).

    Raises:
        NotPermitted: a sandbox forbids prctl(2).
    """
    import ctypes  # imported here: it costs milliseconds that only a supervisor should pay

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise NotPermitted(
            f"cannot become a child subreaper: {os.strerror(number)} (errno {number}); allow prctl(2) in the sandbox"
        )


def trim_memory() -> None:
    """Give memory that was freed back to the system (malloc_trim(3)); a C library without that does nothing."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def sync_filesystem(fd: int) -> None:
    """Write everything of the file system that ``fd`` is on to its disk, and wait (syncfs(2)).

    Raises:
        OSError: something could not be written.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def child_signal_fd() -> int:
    """A descriptor that is readable when SIGCHLD is pending (signalfd(2)); non-blocking, close-on-exec.

    SIGCHLD has to be blocked in every thread, or it is delivered instead.

    Raises:
        NotPermitted: a sandbox forbids signalfd(2).
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    mask = ctypes.create_string_buffer(128)  # sigset_t of Linux libcs; at least _NSIG bits
    libc.sigemptyset(mask)
    libc.sigaddset(mask, int(signal.SIGCHLD))
    fd = int(libc.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        number = ctypes.get_errno()
        raise NotPermitted(f"cannot watch for ended children: signalfd: {os.strerror(number)} (errno {number})")
    return fd


def pidfd_exit_status(pidfd: int) -> ExitStatus | None:
    """How the process of ``pidfd`` ended, for any process, once its parent has reaped it.

    Returns:
        None while it is not reaped (running, or a zombie); an unknown status when this kernel cannot tell.
    """
    request = _PIDFD_INFO.pack(_PIDFD_INFO_EXIT, 0, *[0] * 12)
    try:
        answer = _PIDFD_INFO.unpack(fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.ESRCH, errno.EOPNOTSUPP):
            return ExitStatus()
        raise
    if not answer[0] & _PIDFD_INFO_EXIT:
        return None
    return ExitStatus.from_wait(answer[-1])
