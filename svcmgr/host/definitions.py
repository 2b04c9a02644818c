"""Definitions: one TOML file per service, read with every error named by file, line and key.

The file's name is the service's name. What a definition leaves out comes from its kind's class facts. A file that
cannot be used is reported and the others are loaded; nothing of the operator's is ever moved or rewritten, except by
``add --replace`` of that very service.
"""

from __future__ import annotations

import difflib
import re
import signal
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from svcmgr.errors import BadDefinition, BadInput, SvcmgrError
from svcmgr.fsutil import atomic_write, make_dir, read_limited
from svcmgr.paths import check_key
from svcmgr.proc.spec import RLIMITS
from svcmgr.svc import BackoffSpec, Links, Readiness, Registry, Restart, Service, ServiceSpec
from svcmgr.svc.spec import ReadyKind

_SIZE_LIMIT = 256 * 1024
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
_PATH = re.compile(r"at `\$\.?([A-Za-z0-9_-]+)")
_TOML_LINE = re.compile(r"\(at line (\d+), column (\d+)\)")
_UMASK = re.compile(r"0?[0-7]{3}\Z")


class Definition(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """The keys of a definition file; see docs/cli.md, "Definitions". Durations in seconds."""

    kind: str = "command"
    command: list[str] = []
    description: str = ""
    cwd: str = ""
    env: dict[str, str] = {}
    env_clean: bool = False
    user: str | None = None
    group: str | None = None
    umask: str = "022"
    nice: int | None = None
    rlimits: dict[str, int | str | list[int | str]] = {}
    restart: Restart | None = None
    restart_delay: float | None = None
    restart_delay_max: float | None = None
    restart_intensity: int | None = None
    restart_period: float | None = None
    ready: str | None = None
    start_timeout: float = 30.0
    stop_signal: str = "SIGTERM"
    stop_grace: float | None = None
    reload_signal: str = ""
    requires: list[str] = []
    after: list[str] = []
    enabled: bool = True
    watchdog: float = 0.0
    hang_timeout: float = 0.0
    log_max_bytes: int = 10 * 1024 * 1024
    log_keep: int = 5
    cgroup: bool = False
    options: dict[str, Any] = {}


def load_all(directory: Path, registry: Registry) -> tuple[dict[str, ServiceSpec], dict[str, str]]:
    """(specs by name, reason by name of everything that could not be loaded). A missing directory is empty."""
    specs: dict[str, ServiceSpec] = {}
    invalid: dict[str, str] = {}
    for path in sorted(directory.glob("*.toml")) if directory.is_dir() else []:
        try:
            spec = load(path, registry)
            specs[spec.key] = spec
        except SvcmgrError as error:
            invalid[path.stem] = error.message
        except OSError as error:
            invalid[path.stem] = f"cannot read {path}: {error.strerror} (errno {error.errno})"
    return specs, invalid


def load(path: Path, registry: Registry) -> ServiceSpec:
    """The spec in one file. Raises BadDefinition with file, line and key; OSError as open(2) does."""
    text = read_limited(path, _SIZE_LIMIT)
    try:
        source = text.decode()
        table = tomllib.loads(source)
    except UnicodeDecodeError as error:
        raise BadDefinition(f"cannot use {path}: not UTF-8 at byte {error.start}", path=str(path)) from error
    except RecursionError as error:
        raise BadDefinition(f"cannot use {path}: its values are nested too deeply", path=str(path)) from error
    except ValueError as error:  # TOMLDecodeError is one, and a number of thousands of digits is another
        raise BadDefinition(f"cannot use {_at(path, str(error), text.decode())}", path=str(path)) from error
    try:
        return parse(path.stem, table, registry, path)
    except BadInput as error:
        key = str(error.details.get("key", ""))
        line = _line_of(source, key)
        where = f"{path}:{line}" if line else str(path)
        reason = error.message if not key or f"'{key}'" in error.message else f"{error.message} (key '{key}')"
        raise BadDefinition(f"cannot use {where}: {reason}", path=str(path), line=line, key=key) from error


def _at(path: Path, message: str, source: str) -> str:
    """``path:line: message``, with the key that stands on that line."""
    found = _TOML_LINE.search(message)
    if not found:
        return f"{path}: {message}"
    line = source.split("\n")[int(found[1]) - 1 : int(found[1])]
    key = line[0].partition("=")[0].strip() if line and "=" in line[0] else ""
    text = message[: found.start()].strip()
    return f"{path}:{found[1]}:{found[2]}: {text}" + (f" (key {key})" if key else "")


def _line_of(source: str, key: str) -> int:
    if not key:
        return 0
    pattern = re.compile(rf"""\s*(\[\s*)?["']?{re.escape(key)}["']?\s*(=|\.|\])""")
    for number, line in enumerate(source.split("\n"), 1):
        if pattern.match(line):
            return number
    return 0


def parse(name: str, table: Mapping[str, Any], registry: Registry, source: Path | None = None) -> ServiceSpec:
    """The spec for ``table``, validated whole. Raises BadInput; ``details['key']`` is the key at fault."""
    check_key(name)
    try:
        definition = msgspec.convert(dict(table), Definition)
    except msgspec.ValidationError as error:
        raise _explain(str(error), table) from error
    cls = _keyed("kind", lambda: registry.find(definition.kind))
    spec = _build(name, definition, cls, source)
    cls.check(spec)
    return spec


def _explain(message: str, table: Mapping[str, Any]) -> BadInput:
    unknown = _UNKNOWN.search(message)
    if unknown:
        near = difflib.get_close_matches(unknown[1], Definition.__struct_fields__, 1)
        hint = f", did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(Definition.__struct_fields__)}"
        return BadInput(f"unknown key {unknown[1]!r}{hint}", key=unknown[1])
    where = _PATH.search(message)
    key = where[1] if where else ""
    if key == "command" and isinstance(table.get("command"), str):
        return BadInput(
            'key \'command\': give an array of strings, for example ["/bin/sh", "-c", "..."]; no shell is implied',
            key=key,
        )
    return BadInput(f"key {key!r}: {message.partition(' - at ')[0]}", key=key)


def _keyed(key: str, make: Any) -> Any:
    """Run ``make``; a refusal is blamed on ``key``."""
    try:
        return make()
    except BadInput as error:
        error.details.setdefault("key", key)
        raise


def _build(name: str, d: Definition, cls: type[Service], source: Path | None) -> ServiceSpec:
    ready = _keyed("ready", lambda: Readiness.parse(d.ready if d.ready is not None else cls.readiness))
    if ready.kind is ReadyKind.PING and not cls.speaks:
        raise BadInput(f"key 'ready': kind {d.kind} has no socket to ping; use another rule", key="ready")
    return ServiceSpec(
        key=name,
        kind=d.kind,
        command=_strings(d.command, "command"),
        description=d.description,
        cwd=_absolute(d.cwd or "/", "cwd"),
        env=_environment(d.env),
        env_clean=d.env_clean,
        user=d.user,
        group=d.group,
        umask=_umask(d.umask),
        nice=_between("nice", d.nice, -20, 19),
        rlimits={k: _limit(k, v) for k, v in d.rlimits.items()},
        restart=d.restart or cls.restart,
        backoff=_backoff(d),
        ready=ready,
        start_timeout=_between("start_timeout", d.start_timeout, 0.01, 86400),
        stop_signal=_ending("stop_signal", d.stop_signal),
        stop_grace=_between("stop_grace", cls.stop_grace if d.stop_grace is None else d.stop_grace, 0, 86400),
        reload_signal=_signal("reload_signal", d.reload_signal) if d.reload_signal else "",
        links=Links(_names("requires", d.requires), _names("after", d.after)),
        enabled=d.enabled,
        watchdog=_between("watchdog", d.watchdog, 0, 86400),
        hang_timeout=_between("hang_timeout", d.hang_timeout, 0, 86400),
        log_max_bytes=_between("log_max_bytes", d.log_max_bytes, 4096, 1 << 40),
        log_keep=_between("log_keep", d.log_keep, 0, 1000),
        cgroup=d.cgroup,
        options=d.options,
        source=source,
    )


def _backoff(d: Definition) -> BackoffSpec:
    base = BackoffSpec()
    delay = base.delay if d.restart_delay is None else d.restart_delay
    try:
        return BackoffSpec(
            delay=delay,
            delay_max=max(base.delay_max, delay) if d.restart_delay_max is None else d.restart_delay_max,
            intensity=base.intensity if d.restart_intensity is None else d.restart_intensity,
            period=base.period if d.restart_period is None else d.restart_period,
        )
    except BadInput as error:
        field = "delay_max" if d.restart_delay is None and error.details["field"] == "delay" else error.details["field"]
        error.details["key"] = f"restart_{field}"
        raise


def _between(key: str, value: Any, low: float, high: float) -> Any:
    if value is not None and not low <= value <= high:
        raise BadInput(f"key {key!r}: {value} is not between {low} and {high}", key=key)
    return value


def _strings(values: list[str], key: str) -> tuple[str, ...]:
    for value in values:
        if "\0" in value:
            raise BadInput(f"key {key!r}: a NUL byte cannot be part of it", key=key)
    return tuple(values)


def _environment(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise BadInput(f"key 'env': {name!r} cannot be a variable (empty, '=' or NUL)", key="env")
    return env


def _absolute(path: str, key: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise BadInput(f"key {key!r}: {path!r} must be an absolute path", key=key)
    return path


def _umask(text: str) -> int:
    if not _UMASK.match(text):
        raise BadInput(f"key 'umask': {text!r} is not an octal mask like \"022\"", key="umask")
    return int(text, 8)


def _signal(key: str, name: str) -> str:
    full = name if name.startswith("SIG") else f"SIG{name}"
    if full not in signal.Signals.__members__:
        raise BadInput(f"key {key!r}: {name!r} is not a signal name like SIGTERM", key=key)
    return full


def _ending(key: str, name: str) -> str:
    full = _signal(key, name)
    if full in ("SIGSTOP", "SIGCONT"):
        raise BadInput(f"key {key!r}: {name!r} cannot end a process", key=key)
    return full


def _names(key: str, names: list[str]) -> tuple[str, ...]:
    for name in names:
        _keyed(key, lambda name=name: check_key(name))
    return tuple(dict.fromkeys(names))


def _limit(name: str, value: int | str | list[int | str]) -> tuple[int, int]:
    if name not in RLIMITS:
        known = ", ".join(sorted(RLIMITS))
        raise BadInput(f"key 'rlimits': {name!r} is no limit; known are {known}", key="rlimits")
    pair = value if isinstance(value, list) else [value, value]
    if len(pair) != 2:
        raise BadInput(f"key 'rlimits': {name} needs a number or [soft, hard]", key="rlimits")
    soft, hard = (_bound(name, v) for v in pair)
    if hard != -1 and (soft == -1 or soft > hard):
        raise BadInput(f"key 'rlimits': {name} has its soft limit over the hard one", key="rlimits")
    return soft, hard


def _bound(name: str, value: int | str) -> int:
    if value == "unlimited":
        return -1
    if isinstance(value, str) or value < 0:
        raise BadInput(f"key 'rlimits': {name}: give a number >= 0 or \"unlimited\"", key="rlimits")
    return value


def save(directory: Path, name: str, table: Mapping[str, Any]) -> Path:
    """Write a definition file, durable. A key whose value is None is left out.

    Raises:
        BadDefinition: a value has no place in TOML.
        StorageFailed: the file system refused.

    An old file is unchanged then.
    """
    import tomli_w

    try:
        text = tomli_w.dumps({key: value for key, value in table.items() if value is not None})
    except (TypeError, ValueError, RecursionError) as error:
        raise BadDefinition(f"cannot store the definition of {name}: {error}") from error
    make_dir(directory)
    path = directory / f"{name}.toml"
    atomic_write(path, text.encode(), mode=0o644)
    return path
