"""Linux behind the seam: processes started, held by pidfd, found, signalled and reaped.

What each method is for is said at :class:`svcmgr.proc.seam.Os`; the comments here say how Linux does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

from svcmgr.errors import Busy, NotPermitted, PidfileUnusable, SpawnFailed
from svcmgr.fsutil import make_dir
from svcmgr.proc import linux, mounts, pidfile, procfs
from svcmgr.proc.census import Census
from svcmgr.proc.identity import ExitStatus, Identity
from svcmgr.proc.launch import launch, seal_descriptors
from svcmgr.proc.seam import Handle
from svcmgr.proc.spec import Marker, ProcSpec
from svcmgr.proc.tree import Tree
from svcmgr.proc.watches import Watches

#: No process has the number, or it is the number of a thread (EINVAL, since Linux 6.15 ENOENT).
_NO_SUCH_PROCESS = (errno.ESRCH, errno.EINVAL, errno.ENOENT)


class RealOs:
    """Linux. One per supervisor; on the main thread, since children and signals belong to it.

    A :class:`~svcmgr.proc.reaper.Reaper` must run beside it, else orphans stay zombies.
    """

    def __init__(self) -> None:
        seal_descriptors()
        self._known: dict[int, Identity] = {}
        self._boot_id = procfs.boot_id()
        self._census = Census(self._known, self._boot_id)
        self._signals_ready = False
        self._watches = Watches()

    # --- our own standing ----------------------------------------------------------------------

    def become_subreaper(self) -> None:
        linux.set_subreaper()

    def boot_id(self) -> str:
        return self._boot_id

    def marked(self, root: str) -> dict[str, list[Identity]]:
        return self._census.marked(root)

    def environ(self, pid: int) -> bytes:
        return procfs.environ(pid)

    # --- files ---------------------------------------------------------------------------------

    def make_dirs(self, spec: ProcSpec) -> None:
        places = {spec.logdir, spec.logfile.parent} | ({spec.pidfile.parent} if spec.pidfile else set())
        for place in places:
            if not os.path.isdir(place):
                make_dir(place)

    def check_pidfile(self, spec: ProcSpec) -> None:
        if spec.pidfile is not None:
            pidfile.check_free(spec.pidfile)

    def write_pidfile(self, spec: ProcSpec, pid: int) -> None:
        if spec.pidfile is not None and spec.write_pidfile:
            pidfile.write_pidfile(spec.pidfile, pid)

    def remove_pidfile(self, spec: ProcSpec, pid: int) -> None:
        if spec.pidfile is not None:
            pidfile.remove_pidfile(spec.pidfile, pid)

    def detach_mount(self, path: Path) -> None:
        mounts.detach(path)

    def read_pidfile(self, spec: ProcSpec) -> int | None:
        if spec.pidfile is None:
            return None
        try:
            return pidfile.owner(spec.pidfile) or pidfile.read_pidfile(spec.pidfile)
        except PidfileUnusable:
            return None

    # --- one process ---------------------------------------------------------------------------

    def spawn(self, spec: ProcSpec) -> Handle:
        self._make_signals_inheritable()
        pid = launch(spec)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            # A child that cannot be watched must not run.
            _kill_new(pid)
            raise SpawnFailed(
                f"cannot start {spec.name}: its process cannot be watched: {error.strerror} (errno {error.errno})",
                service=spec.name,
                errno=error.errno,
            ) from error
        return self._hold_new(spec, pid, pidfd)

    def _hold_new(self, spec: ProcSpec, pid: int, pidfd: int) -> Handle:
        found = procfs.stat(pid)
        handle = Handle(Identity(pid, 0 if found is None else found.start_ticks, self._boot_id), pidfd)
        if found is None:  # not our /proc, or no descriptor left to read it with
            self.abort(handle)
            raise SpawnFailed(
                f"cannot start {spec.name}: /proc/{pid}/stat is not there; mount /proc", service=spec.name
            )
        self._known[pid] = handle.identity
        return handle

    def abort(self, handle: Handle) -> None:
        _kill_new(handle.pid)
        self._forget(handle)
        os.close(handle.pidfd)

    def _make_signals_inheritable(self) -> None:
        """Give signals that we ignore a handler: execve(2) resets handlers, but lets ignored ones stay ignored."""
        if self._signals_ready:
            return
        self._signals_ready = True
        for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # Popen restores these two
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, _ignore)

    def identity(self, pid: int) -> Identity | None:
        return self._census.identity(pid)

    def open(self, identity: Identity) -> Handle | None:
        if identity.boot_id != self._boot_id:
            return None
        try:
            pidfd = os.pidfd_open(identity.pid)
        except (ValueError, OverflowError):
            return None
        except OSError as error:
            if error.errno in _NO_SUCH_PROCESS:
                return None
            raise Busy(
                f"cannot watch process {identity.pid}: {error.strerror} (errno {error.errno}); "
                "raise the limit of open files (nofile) of svcmgrd",
                pid=identity.pid,
            ) from error
        # Compared only now: the descriptor holds whoever has the number, and it has to be the right one.
        found = procfs.stat(identity.pid)
        if found is None or found.dead or found.start_ticks != identity.start_ticks:
            os.close(pidfd)
            return None
        return Handle(identity, pidfd)

    def close(self, handle: Handle) -> None:
        self._watches.remove(handle.pidfd)
        os.close(handle.pidfd)

    def watch(self, handle: Handle, callback: Callable[[], None]) -> None:
        self._watches.add(handle.pidfd, callback)

    def watch_reaped(self, handle: Handle, callback: Callable[[], None]) -> Callable[[], None]:
        # The exited process keeps its pidfd readable; reaping adds a hang-up (Linux 6.15), which an epoll set
        # that asks for nothing reports alone.
        loop = asyncio.get_running_loop()
        try:
            hangup = select.epoll()
        except OSError:
            return lambda: None  # no descriptor left; who asks does not wait for ever
        hangup.register(handle.pidfd, 0)

        def give_up() -> None:
            if not hangup.closed:
                loop.remove_reader(hangup.fileno())
                hangup.close()

        def reaped() -> None:
            give_up()
            callback()

        loop.add_reader(hangup.fileno(), reaped)
        return give_up

    def send_signal(self, handle: Handle, number: int) -> bool:
        try:
            signal.pidfd_send_signal(handle.pidfd, number)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            raise NotPermitted(
                f"cannot signal process {handle.pid}: {error.strerror} (errno {error.errno}); run svcmgrd as root "
                "or as the user of that process",
                pid=handle.pid,
            ) from error
        return True

    def signal_group(self, handle: Handle, number: int) -> None:
        # Only while it is our unreaped child: as long as its number is taken, no other group can have it.
        if _is_child(handle):
            # No such group, or nobody in it is ours to signal: members are signalled one by one as well.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(handle.pid, number)

    def peek(self, handle: Handle) -> ExitStatus | None:
        try:
            info = os.waitid(os.P_PIDFD, handle.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return linux.pidfd_exit_status(handle.pidfd) or _unreaped_status(handle.identity)
        return None if info is None else _exit_status(info)

    def reap(self, handle: Handle) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, handle.pidfd, os.WEXITED | os.WNOHANG)
        self._forget(handle)
        self._census.drop(handle.pid)

    def _forget(self, handle: Handle) -> None:
        # By identity: the number of a process that was not our child may meanwhile be that of one which is.
        if self._known.get(handle.pid) == handle.identity:
            del self._known[handle.pid]

    # --- many processes ------------------------------------------------------------------------

    def claim(self, handle: Handle) -> None:
        self._known[handle.pid] = handle.identity

    def disown(self, handle: Handle) -> None:
        self._forget(handle)
        self._census.forget()

    def watch_children(self, callback: Callable[[], None]) -> Callable[[], None]:
        # A handler alone will not do: each delivery puts a byte into the loop's wake-up pipe, which is full after
        # some 280 children that end together, and then a SIGTERM to us is lost. A signalfd merges them. The
        # handler is for what the signalfd cannot see: the moment in which launch() has the signal unblocked,
        # and threads that do not block it.
        loop = asyncio.get_running_loop()
        fd = linux.child_signal_fd()
        loop.add_signal_handler(signal.SIGCHLD, callback)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})

        def readable() -> None:
            # Empty when a child was started since it became readable: see above.
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 128)
            callback()

        def end() -> None:
            loop.remove_reader(fd)
            os.close(fd)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            loop.remove_signal_handler(signal.SIGCHLD)

        loop.add_reader(fd, readable)
        return end

    def reap_strangers(self) -> list[tuple[int, ExitStatus]]:
        reaped = []
        for pid in self._census.strangers():
            if (status := _wait(pid)) is not None:
                self._census.drop(pid)
                reaped.append((pid, status))
        return reaped

    def tree_of(self, handle: Handle, marker: Marker | None) -> Tree:
        main = handle.identity
        found = procfs.stat(main.pid)
        # A session is a mark only if the process leads it; else it is its parent's, for example a login.
        leads = found is not None and found.session == main.pid
        return Tree(
            main=main,
            since=main.start_ticks,
            sessions=frozenset({main.pid} if leads else ()),
            marker=marker,
            # With another ancestor in between, that one may be a subreaper too, and closer.
            ours=found is not None and found.ppid == os.getpid(),
            heirs=self._census.heirs(main),
        )

    def members(self, tree: Tree, *, main_alive: bool, fresh: bool = False) -> list[Identity]:
        return self._census.members(tree, main_alive=main_alive, fresh=fresh)

    def descendants(self, main: Identity) -> list[Identity]:
        return self._census.descendants(main)


def _wait(pid: int) -> ExitStatus | None:
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return ExitStatus.from_wait(status) if found else None


def _kill_new(pid: int) -> None:
    """End an unreaped child that leads its group, with what it has forked so far: its numbers are still its own."""
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _exit_status(info: os.waitid_result) -> ExitStatus:
    if info.si_code == os.CLD_EXITED:
        return ExitStatus(code=info.si_status)
    return ExitStatus(signal=info.si_status, core=info.si_code == os.CLD_DUMPED)


def _is_child(handle: Handle) -> bool:
    try:
        os.waitid(os.P_PIDFD, handle.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _ignore(_number: int, _frame: object) -> None:
    return


def _unreaped_status(identity: Identity) -> ExitStatus | None:
    """How a stranger's child ended, while its parent is slow to reap it."""
    status = procfs.zombie_status(identity.pid, identity.start_ticks)
    return None if status is None else ExitStatus.from_wait(status)
