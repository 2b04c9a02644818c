"""Where everything of one svcmgrd lives, and which names are allowed there.

A *layout* is five directories. ``--root DIR`` (or SVCMGR_ROOT) puts all of them under DIR; without it root
uses the FHS places (/etc, /var/lib, /run, /var/log) and anyone else the XDG base directories
(https://specifications.freedesktop.org/basedir-spec/latest/).

Names come before paths: a service name is checked by :func:`check_key` before it becomes part of a path,
so that no name can leave its directory.

A unix socket address holds 108 bytes including the final NUL (unix(7)); a path over 107 bytes is replaced
by a short one, a hash of the readable path in a private directory, and the readable path becomes a link.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from svcmgr.errors import BadInput

#: sun_path is 108 bytes with its NUL (unix(7)).
SOCKET_PATH_MAX = 107
#: Longest service name or instance. File names add at most 40 bytes of suffix and NAME_MAX is 255 (path_resolution(7)).
NAME_MAX = 100

#: The name under which svcmgrd itself appears, for example in ``svcmgr logs svcmgrd``.
RESERVED = "svcmgrd"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class Layout(msgspec.Struct, frozen=True):
    """The directories of one svcmgrd. All absolute."""

    root: Path | None
    etc: Path
    state: Path
    run: Path
    log: Path

    @property
    def definitions(self) -> Path:
        """One TOML file per service, the operator's own."""
        return self.etc / "services.d"

    @property
    def quarantine(self) -> Path:
        """State files of ours that could not be read are moved here, never deleted."""
        return self.state / "quarantine"

    @property
    def control_socket(self) -> Path:
        """The readable name of svcmgrd's socket; connect to ``socket_path(control_socket)``."""
        return self.run / "svcmgrd.sock"

    @property
    def daemon_pidfile(self) -> Path:
        return self.run / "svcmgrd.pid"

    @property
    def daemon_log(self) -> Path:
        return self.log / "svcmgrd.log"

    @property
    def services_run(self) -> Path:
        """Pidfiles and sockets of the services."""
        return self.run / "services"

    def service_pidfile(self, key: str) -> Path:
        return self.services_run / f"{key}.pid"

    def service_socket(self, key: str) -> Path:
        """Readable name; bind and connect to ``socket_path()`` of it."""
        return self.services_run / f"{key}.sock"

    def service_notify(self, key: str) -> Path:
        """Readable name of the sd_notify(3) datagram socket of one service."""
        return self.services_run / f"{key}.notify"

    def service_log(self, key: str) -> Path:
        return self.log / f"{key}.log"

    def service_volfile(self, key: str) -> Path:
        return self.state / "volfiles" / f"{key}.vol"


def resolve(root: str | os.PathLike[str] | None, environ: Mapping[str, str], uid: int) -> Layout:
    """The layout for these inputs; touches nothing.

    ``root`` wins over SVCMGR_ROOT, which wins over the defaults of the user.
    """
    chosen = root or environ.get("SVCMGR_ROOT")
    if chosen:
        base = Path(os.path.abspath(chosen))
        return Layout(base, base / "etc", base / "state", base / "run", base / "log")
    if uid == 0:
        return Layout(None, Path("/etc/svcmgr"), Path("/var/lib/svcmgr"), Path("/run/svcmgr"), Path("/var/log/svcmgr"))
    home = Path(environ.get("HOME") or "/")
    state = _xdg(environ, "XDG_STATE_HOME", home / ".local/state") / "svcmgr"
    run = environ.get("XDG_RUNTIME_DIR")
    return Layout(
        None,
        _xdg(environ, "XDG_CONFIG_HOME", home / ".config") / "svcmgr",
        state,
        Path(run) / "svcmgr" if run and os.path.isabs(run) else state / "run",
        state / "log",
    )


def _xdg(environ: Mapping[str, str], name: str, default: Path) -> Path:
    # The specification says that a relative value must be ignored.
    value = environ.get(name, "")
    return Path(value) if os.path.isabs(value) else default


def check_name(name: str, what: str = "service name") -> str:
    """``name`` itself if it may name a service or an instance.

    Raises:
        BadInput: empty, over NAME_MAX characters, or outside ``[A-Za-z0-9._-]`` with a letter or digit first.
    """
    if len(name) > NAME_MAX:
        raise BadInput(f"cannot use {name[:20]!r}... as {what}: {len(name)} characters, the limit is {NAME_MAX}")
    if not _NAME.match(name):
        raise BadInput(
            f"cannot use {name!r} as {what}: use letters, digits, '.', '_' and '-', with a letter or digit first"
        )
    return name


def check_key(key: str) -> tuple[str, str | None]:
    """Split ``name`` or ``name@instance`` and check both halves. Raises BadInput."""
    name, at, instance = key.partition("@")
    check_name(name)
    if key == RESERVED:
        raise BadInput(f"cannot use {key!r} as service name: it is the host daemon's own; choose another")
    if at:
        check_name(instance, "instance name")
    return name, instance if at else None


def short_socket_dir(environ: Mapping[str, str], uid: int) -> Path:
    """The private directory for hashed socket names; short by construction."""
    if uid == 0:
        return Path("/run/svcmgr-sockets")
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and len(os.fsencode(runtime)) < 60:
        return Path(runtime) / "svcmgr-sockets"
    return Path(f"/tmp/svcmgr-sockets-{uid}")  # noqa: S108 - ownership and mode are checked by who creates it


def socket_path(readable: Path, short_dir: Path) -> Path:
    """The path to bind: ``readable`` when its address fits, else a name of 16 hex digits in ``short_dir``.

    The digits are of the SHA-256 of the readable path, so both sides compute the same name alone.
    """
    if len(os.fsencode(readable)) <= SOCKET_PATH_MAX:
        return readable
    import hashlib  # loads OpenSSL, which a command line with a path that fits need not pay for

    digest = hashlib.sha256(os.fsencode(readable)).hexdigest()[:16]
    return short_dir / f"{digest}.sock"
