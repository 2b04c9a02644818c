"""Starting one program: log, credentials, limits, session, and what to say when it fails.

``subprocess.Popen`` uses vfork(2) as long as nothing has to run in Python between fork and exec, and reports
a failed exec with its errno. Changing user costs a real fork (0.5 to 2 ms, by the size of our memory), and so
do limits and niceness, which have to be set before the user is changed; both are done only when asked for.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import resource
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from svcmgr.errors import SpawnFailed
from svcmgr.proc.spec import ProcSpec


@attrs.frozen
class Credentials:
    """Numbers to become. ``groups`` are the supplementary ones; None in ``uid`` keeps user and groups."""

    uid: int | None
    gid: int | None
    groups: tuple[int, ...] | None


_SAME = Credentials(None, None, None)


def _failed(spec: ProcSpec, why: str, number: int | None = None) -> SpawnFailed:
    details: dict[str, Any] = {"service": spec.name, "argv": list(spec.argv)}
    if number is not None:
        why = f"{why}: {os.strerror(number)} (errno {number})"
        details["errno"] = number
    return SpawnFailed(f"cannot start {spec.name}: {why}", **details)


def credentials(spec: ProcSpec) -> Credentials:
    """Look up user and group.

    Raises:
        SpawnFailed: there is no such user or group.
    """
    uid = gid = groups = None
    if spec.group is not None:
        gid = _group(spec, spec.group)
    if spec.user is not None:
        entry = _user(spec, spec.user)
        uid = entry.pw_uid
        gid = entry.pw_gid if gid is None else gid
        groups = tuple(os.getgrouplist(entry.pw_name, gid))
    elif gid is not None:
        groups = (gid,)
    return Credentials(uid, gid, groups)


def _user(spec: ProcSpec, name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise _failed(spec, f"there is no user {name!r}; create it or change 'user'") from None


def _group(spec: ProcSpec, name: str) -> int:
    try:
        return grp.getgrgid(int(name)).gr_gid if name.isdecimal() else grp.getgrnam(name).gr_gid
    except (KeyError, OverflowError):
        raise _failed(spec, f"there is no group {name!r}; create it or change 'group'") from None


def open_log(spec: ProcSpec, who: Credentials) -> int:
    """The log for appending, created if absent and then given to the user of the service.

    Symbolic links are refused: a service user who may write to the log directory could otherwise make us
    append to any file. A fifo or a socket is refused too, since opening one can block.

    Raises:
        SpawnFailed: the log cannot be opened or is not a file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        try:
            fd = os.open(spec.logfile, flags)
        except FileNotFoundError:
            fd = os.open(spec.logfile, flags | os.O_CREAT, 0o640)
            if who.uid is not None or who.gid is not None:
                _give_to(who, spec, fd)
    except OSError as error:
        hint = " (it is a symbolic link)" if error.errno == errno.ELOOP else ""
        raise _failed(spec, f"log file {spec.logfile}{hint}", error.errno) from error
    kind = os.fstat(fd).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISCHR(kind):
        os.close(fd)
        raise _failed(spec, f"log file {spec.logfile} is neither a file nor a device")
    # O_NONBLOCK was for open(2) alone; on a terminal it would also apply to everybody who shares it.
    os.set_blocking(fd, True)
    return fd


def _give_to(who: Credentials, spec: ProcSpec, fd: int) -> None:
    try:
        os.fchown(fd, -1 if who.uid is None else who.uid, -1 if who.gid is None else who.gid)
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EPERM and os.geteuid() != 0:
            raise _not_root(spec, errno.EPERM) from error
        raise


#: What Python ignores and every program expects at its default, as Popen restores them.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


def seal_descriptors() -> None:
    """Mark every descriptor beyond the standard three close-on-exec, whoever left it open to us (open(2))."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the one of this very listing is closed by now
                os.set_inheritable(int(name), False)


def launch(spec: ProcSpec) -> int:
    """Start the program of ``spec`` and return its pid.

    It has its own session, stdin from /dev/null, stdout and stderr in its log, no other descriptor of ours,
    default signal dispositions and an empty signal mask. The caller owns the child and must reap it.

    Raises:
        SpawnFailed: nothing was started; the message tells what is wrong with what.
    """
    who = credentials(spec)
    log = open_log(spec, who)
    try:
        # The child inherits the mask of the calling thread.
        mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            return _popen(spec, who, log)
        finally:
            if mask:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        os.close(log)


def _popen(spec: ProcSpec, who: Credentials, log: int) -> int:
    if spec.rlimits or spec.nice is not None:
        return _popen_prepared(spec, who, log)
    if _is_plain(spec, who):
        return _posix_spawn(spec, log)
    try:
        process = _start(spec, log, user=who.uid, group=who.gid, extra_groups=who.groups)
    except OSError as error:
        raise _explain(spec, error) from error
    return _disown(process)


def _popen_prepared(spec: ProcSpec, who: Credentials, log: int) -> int:
    # Popen reports a failing preexec_fn without its reason, so that comes over a pipe of our own.
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        process = _start(spec, log, preexec_fn=_preparation(spec, who, write_end))
    except OSError as error:
        raise _explain(spec, error) from error
    except subprocess.SubprocessError as error:
        os.set_blocking(read_end, False)
        with contextlib.suppress(BlockingIOError):
            raise _failed(spec, os.read(read_end, 4096).decode("utf-8", "replace")) from error
        raise _failed(spec, "limits or credentials could not be set") from error
    finally:
        os.close(read_end)
        os.close(write_end)
    return _disown(process)


def _is_plain(spec: ProcSpec, who: Credentials) -> bool:
    """Whether the program starts in what we are in ourselves, so that posix_spawn(3) can do all that is asked."""
    if who != _SAME or "/" not in spec.argv[0]:
        return False
    # The only way to read the umask is to set it; the status file is not worth its cost at every start.
    ours = os.umask(spec.umask)
    if ours != spec.umask:
        os.umask(ours)
        return False
    return str(spec.cwd) == os.getcwd()


def _posix_spawn(spec: ProcSpec, log: int) -> int:
    """Half the cost of Popen to us: the environment is converted in C, and no pipe reports what execve(2) said."""
    try:
        return os.posix_spawn(
            spec.argv[0],
            spec.argv,
            spec.env,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ),
            setsid=True,
            setsigdef=_RESTORED,
        )
    except OSError as error:
        raise _explain(spec, error) from error


def _start(spec: ProcSpec, log: int, **how: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        spec.argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=spec.cwd,
        env=spec.env,
        umask=spec.umask,
        start_new_session=True,
        # Python opens everything close-on-exec, and what svcmgrd inherited is marked so (seal_descriptors). Closing one
        # by one in the child would cost a system call per service that runs: five hundred for the last of five hundred.
        close_fds=False,
        **how,
    )


def _disown(process: subprocess.Popen[bytes]) -> int:
    # The child is watched by pidfd and reaped by us; a Popen that believes in an end neither waits nor warns.
    process.returncode = 0
    return process.pid


def _preparation(spec: ProcSpec, who: Credentials, report: int) -> Callable[[], None]:
    # Everything is looked up before the fork: the child of a threaded process should do nothing but calls.
    limits = [(name, getattr(resource, f"RLIMIT_{name.upper()}"), pair) for name, pair in spec.rlimits.items()]

    def prepare() -> None:
        step = ""
        try:
            for name, number, pair in limits:
                step = f"limit {name} = {pair[0]}:{pair[1]}"
                resource.setrlimit(number, pair)
            if spec.nice is not None:
                step = f"nice {spec.nice}"
                os.setpriority(os.PRIO_PROCESS, 0, spec.nice)
            step = f"user {spec.user or ''} group {spec.group or ''}"
            if who.groups is not None:
                os.setgroups(who.groups)
            if who.gid is not None:
                os.setregid(who.gid, who.gid)
            if who.uid is not None:
                os.setreuid(who.uid, who.uid)
        except (OSError, ValueError) as error:
            os.write(report, f"{step}: {error}".encode())
            raise

    return prepare


def _not_root(spec: ProcSpec, number: int) -> SpawnFailed:
    who = " ".join(f"{what} {name}" for what, name in (("user", spec.user), ("group", spec.group)) if name is not None)
    return _failed(spec, f"only root may become {who}", number)


def _explain(spec: ProcSpec, error: OSError) -> SpawnFailed:
    number = error.errno or 0
    # Popen names the directory both for a failed chdir(2) and for a failed change of user.
    if error.filename is not None and os.fspath(error.filename) == os.fspath(spec.cwd):
        changes = spec.user is not None or spec.group is not None
        if number == errno.EPERM and changes and os.geteuid() != 0:
            return _not_root(spec, number)
        return _failed(spec, f"working directory {spec.cwd}", number)
    program = _find(spec)
    if program is None:
        path = spec.env.get("PATH")
        where = f" in PATH {path!r}" if path and "/" not in spec.argv[0] else ""
        return _failed(spec, f"command {spec.argv[0]!r}{where}", number)
    if number == errno.ENOENT:
        return _failed(spec, f"command {program} is there, but not the interpreter it names", number)
    if number == errno.ENOEXEC:
        return _failed(spec, f"command {program} is neither a program nor a script with a '#!' line", number)
    return _failed(spec, f"command {program}", number)


def _find(spec: ProcSpec) -> Path | None:
    name = spec.argv[0]
    places = [spec.cwd] if "/" in name else [Path(one) for one in os.get_exec_path(dict(spec.env))]
    return next((place / name for place in places if os.path.lexists(place / name)), None)
