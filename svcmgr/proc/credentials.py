"""Doing something with the file permissions of another user, in a thread that exists for that alone.

Credentials are per thread in Linux, and setfsuid(2) and setfsgid(2) change only what file access is checked against:
no signal of that user reaches the thread. A process of root loses CAP_DAC_OVERRIDE and its like with the file-system
user id (capabilities(7)), so the kernel refuses what it would refuse to that user. The thread ends with the work:
nothing has to be restored, so nothing can fail to be.
"""

from __future__ import annotations

import ctypes
import os
import platform
import pwd
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TypeVar

import attrs

from svcmgr.errors import NotPermitted, Unsupported

# libc's setgroups() changes all threads (nptl(7)); the system call changes one. Numbers: the kernel's table of each.
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159, "ppc64le": 81, "s390x": 206, "armv7l": 206, "i686": 206}

P = TypeVar("P")
T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


@attrs.frozen
class User:
    """Whose permissions; ``groups`` are the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def user_of(uid: int, gid: int) -> User:
    """``uid`` with ``gid`` and the groups that the user database gives; one that is not in it has ``gid`` alone."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return User(uid, gid, (gid,))
    return User(uid, gid, tuple(os.getgrouplist(name, gid)))


def start_as(
    uid: int, gid: int, prepare: Callable[[], AbstractContextManager[P]], function: Callable[[P], T]
) -> Future[T]:
    """In a new thread, enter ``prepare`` as we are, and call ``function`` in it with this user's file permissions.

    Root is served as we are. The future has what ``function`` returns, or what either raises; NotPermitted when we are
    neither root nor that user, Unsupported on a machine whose system calls are not known here. It cannot be cancelled.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            with prepare() as prepared:
                if uid not in (0, os.geteuid()):
                    _become(uid, gid)
                result = function(prepared)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name=f"as-{uid}", daemon=True).start()
    return future


def _become(uid: int, gid: int) -> None:
    if os.geteuid() != 0:
        raise NotPermitted(f"cannot read as uid {uid}: this daemon runs as uid {os.geteuid()} and serves no other user")
    number = _SETGROUPS.get(platform.machine())
    if number is None:
        raise Unsupported(f"cannot read as uid {uid}: the system calls of {platform.machine()} are not known here")
    user = user_of(uid, gid)
    groups = (ctypes.c_uint * len(user.groups))(*user.groups)
    if _libc.syscall(ctypes.c_long(number), ctypes.c_long(len(groups)), groups) != 0:
        raise NotPermitted(f"cannot read as uid {uid}: setgroups: {os.strerror(ctypes.get_errno())}; allow CAP_SETGID")
    # They return the previous id whether they worked or not; an id that is none changes nothing and tells
    # (setfsuid(2)).
    for change, wanted in ((_libc.setfsgid, user.gid), (_libc.setfsuid, user.uid)):
        change(ctypes.c_uint(wanted))
        if change(ctypes.c_uint(0xFFFFFFFF)) & 0xFFFFFFFF != wanted:
            raise NotPermitted(f"cannot read as uid {uid}: the kernel refused; allow CAP_SETUID and CAP_SETGID")
