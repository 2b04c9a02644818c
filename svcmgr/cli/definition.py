"""From the options of ``add`` to a definition, in the shape of one service's TOML file.

Theory of operation. Each option has one function that turns its text into the value of its key and refuses
what cannot be right on any host, with the option and the text in the message. What only svcmgrd can judge
(the keys of a kind, cycles, limits of the host) is left to svcmgrd, so that nothing is decided twice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from svcmgr.errors import BadDefinition, BadInput
from svcmgr.fsutil import read_limited

#: A definition is a page of text; anything larger is another file, bytes.
DEFINITION_MAX = 1 << 20

READY_FORMS = "none, up:SECONDS, ping, notify, pidfile:PATH, tcp:HOST:PORT, unix:PATH or command:COMMAND"
_COMMAND_ADVICE = (
    'write an array of strings, for example command = ["/usr/bin/sleep", "60"]; '
    'for a shell line use ["/bin/sh", "-c", "..."]'
)


def env_table(pairs: Sequence[str]) -> dict[str, str]:
    """``--env K=V`` texts as a table. A later one wins."""
    table = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise BadInput(f"cannot use --env {pair!r}: write NAME=VALUE")
        if "\0" in pair:
            raise BadInput(f"cannot use --env {key}: the value holds a NUL byte")
        table[key] = value
    return table


def rlimit_table(pairs: Sequence[str]) -> dict[str, list[int | str]]:
    """``--rlimit NAME=SOFT[:HARD]`` texts as a table of [soft, hard]; without HARD both are SOFT.

    Names are those of getrlimit(2) in lower case without RLIMIT_; a limit is a number or "unlimited".
    """
    import resource

    known = sorted(name[7:].lower() for name in dir(resource) if name.startswith("RLIMIT_"))
    table: dict[str, list[int | str]] = {}
    for pair in pairs:
        name, equals, limits = pair.partition("=")
        key = name.lower().removeprefix("rlimit_")
        if not equals:
            raise BadInput(f"cannot use --rlimit {pair!r}: write NAME=SOFT or NAME=SOFT:HARD")
        if key not in known:
            raise BadInput(f"cannot use --rlimit {pair!r}: no limit {name!r}; known: {', '.join(known)}", known=known)
        soft, _, hard = limits.partition(":")
        table[key] = [_limit(soft, pair), _limit(hard or soft, pair)]
        _check_order(table[key], pair)
    return table


def _limit(text: str, pair: str) -> int | str:
    if text == "unlimited":
        return text
    if not (text.isascii() and text.isdigit()):
        raise BadInput(f"cannot use --rlimit {pair!r}: {text!r} is neither a number nor 'unlimited'")
    return int(text)


def _check_order(limits: Sequence[int | str], pair: str) -> None:
    soft, hard = (float("inf") if limit == "unlimited" else int(limit) for limit in limits)
    if soft > hard:
        raise BadInput(f"cannot use --rlimit {pair!r}: the soft limit is over the hard one")


def umask_text(text: str) -> str:
    """An octal umask of at most 0777, as four digits."""
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise BadInput(f"cannot use --umask {text!r}: write three octal digits, for example 022")
    return f"{value:04o}"


def signal_name(text: str, option: str) -> str:
    """``TERM``, ``sigterm`` or ``15`` as ``SIGTERM``."""
    import signal

    try:
        if text.isascii() and text.isdigit():
            return signal.Signals(int(text)).name
        name = text.upper()
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"].name
    except (ValueError, KeyError):
        raise BadInput(f"cannot use {option} {text!r}: no such signal; see kill -l") from None


def ready_text(text: str) -> str:
    """A readiness rule, checked for its form. The forms are READY_FORMS."""
    word, colon, rest = text.partition(":")
    if word in ("none", "ping", "notify"):
        good = not colon
    elif word == "up":
        good = _is_seconds(rest)
    elif word in ("pidfile", "unix"):
        good = os.path.isabs(rest)
    elif word == "tcp":
        host, _, port = rest.rpartition(":")
        good = bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    else:
        good = word == "command" and bool(rest.strip())
    if not good:
        raise BadInput(f"cannot use --ready {text!r}: write {READY_FORMS}; paths are absolute")
    return text


def _is_seconds(text: str) -> bool:
    try:
        return 0.0 <= float(text) < float("inf")
    except ValueError:
        return False


def check_command(argv: Sequence[str], cwd: str | None) -> list[str]:
    """The command as it goes into the definition.

    svcmgrd does not run in the caller's directory, so a path relative to it would mean another file there.
    """
    if not argv[0]:
        raise BadInput("cannot use an empty program name as the command")
    if "/" in argv[0] and not os.path.isabs(argv[0]) and cwd is None:
        advice = f"write {os.path.abspath(argv[0])}, or give --cwd"
        raise BadInput(f"cannot use the relative command {argv[0]!r}: svcmgrd runs elsewhere; {advice}")
    return list(argv)


def check_owner(name: str, group: bool) -> str:
    """A user or group that this host knows, by name or number."""
    if name.isascii() and name.isdigit():
        return name
    try:
        if group:
            import grp

            grp.getgrnam(name)
        else:
            import pwd

            pwd.getpwnam(name)
    except KeyError:
        what = "group" if group else "user"
        raise BadInput(f"cannot use --{what} {name!r}: this host has no such {what}") from None
    return name


def read_file(path: str) -> dict[str, Any]:
    """The definition in a TOML file.

    Raises:
        BadDefinition: unreadable, not TOML (with line and column), or ``command`` is a single string.
    """
    import tomllib

    try:
        data = read_limited(Path(path), DEFINITION_MAX)
        definition = tomllib.loads(data.decode())
    except OSError as error:
        raise BadDefinition(f"cannot read definition {path}: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise BadDefinition(f"cannot read definition {path}: byte {error.start} is not UTF-8", path=path) from error
    except tomllib.TOMLDecodeError as error:
        raise BadDefinition(f"cannot read definition {path}: {error}", path=path) from error
    if isinstance(definition.get("command"), str):
        raise BadDefinition(f"cannot use {path}: command is one string; {_COMMAND_ADVICE}", path=path, key="command")
    return definition


def build(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` (from a file) with the options that were ``given`` (not None, not empty) laid over it.

    Raises:
        BadInput: a service of kind ``command`` without a command, or with a command that is empty.
    """
    definition = {**base, **{key: value for key, value in given.items() if value not in (None, {}, [], ())}}
    definition.setdefault("kind", "command")
    if definition["kind"] == "command" and not definition.get("command"):
        raise BadInput("cannot add a service of kind 'command' without a command: give it after --")
    return definition
