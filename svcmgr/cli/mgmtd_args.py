"""How the commands about a cluster are declared: their common options, and the types of their arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click

from svcmgr.cli.app import App
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.options import F, command, json_option
from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.wire import Tag

#: Widths of the field: deepseek-ai/3FS src/fbs/mgmtd/MgmtdTypes.h. 0 is no id.
U32_ID = click.IntRange(1, 2**32 - 1)
U64_ID = click.IntRange(1, 2**64 - 1)
#: 0 is the built-in empty configuration.
CONFIG_VERSION = click.IntRange(0, 2**64 - 1)

NODE_TYPES = ("MGMTD", "META", "STORAGE", "CLIENT", "FUSE")
STATUSES = (
    "PRIMARY_MGMTD",
    "HEARTBEAT_CONNECTED",
    "HEARTBEAT_CONNECTING",
    "HEARTBEAT_FAILED",
    "DISABLED",
    "STOPPED",
)
TAG_MODES = ("REPLACE", "UPSERT", "REMOVE")

#: In upper or lower case, and then in upper.
NODE_TYPE = click.Choice(NODE_TYPES, case_sensitive=False)

SERVICE = "mgmtd"

Declared = Callable[[Callable[..., int]], click.Command]


def asks(name: str, *examples: str) -> Declared:
    """A command that gets a :class:`Cluster` and what was asked; with ``--service`` and ``--json``."""
    return _declared(name, examples)


def lists(name: str, *examples: str) -> Declared:
    """The same with ``--wide``, for tables."""
    wide = click.option("-w", "--wide", is_flag=True, help="All columns, also where the terminal is too narrow.")
    return _declared(name, examples, wide)


def changes(name: str, *examples: str) -> Declared:
    """The same with ``--dry-run``, for what changes something."""
    dry_run = click.option("--dry-run", is_flag=True, help="Say what would be, and change nothing.")
    return _declared(name, examples, dry_run)


def _declared(name: str, examples: Sequence[str], *options: Callable[..., Any]) -> Declared:
    def declare(function: Callable[..., int]) -> click.Command:
        @functools.wraps(function)
        def run(app: App, /, service: str, as_json: bool, **asked: Any) -> int:
            flags = {flag: asked.pop(flag) for flag in ("wide", "dry_run") if flag in asked}
            with Cluster(app, service, as_json, **flags) as cluster:
                return function(cluster, **asked)

        decorated: Callable[..., Any] = click.pass_obj(run)
        for option in (*options, json_option, service_option):
            decorated = option(decorated)
        return command(name, *examples)(decorated)

    return declare


def service_option(function: F) -> F:
    """``--service NAME``: which mgmtd of this host."""
    return click.option(
        "--service",
        default=SERVICE,
        show_default=True,
        metavar="NAME",
        help="The service of kind mgmtd to ask.",
    )(function)


def node_argument(function: F) -> F:
    """``NODE``, as ``node``."""
    return click.argument("node", type=U32_ID, metavar="NODE")(function)


def chain_argument(function: F) -> F:
    """``CHAIN``, as ``chain``."""
    return click.argument("chain", type=U32_ID, metavar="CHAIN")(function)


def table_argument(function: F) -> F:
    """``TABLE``, as ``table``."""
    return click.argument("table", type=U32_ID, metavar="TABLE")(function)


def target_argument(function: F) -> F:
    """``TARGET``, as ``target``."""
    return click.argument("target", type=U64_ID, metavar="TARGET")(function)


def targets_argument(name: str) -> Callable[[F], F]:
    """``TARGET...``, as ``name``."""
    return click.argument(name, nargs=-1, required=True, type=U64_ID, metavar="TARGET...")


def type_argument(function: F) -> F:
    """``TYPE``: a type of nodes in upper or lower case, as ``kind`` in upper case."""
    return click.argument("kind", type=NODE_TYPE, metavar="TYPE")(function)


def tags_argument(function: F) -> F:
    """``[KEY[=VALUE]]...`` and how they are meant, as ``tags`` and ``mode``."""
    mode = click.option(
        "--mode",
        type=click.Choice(TAG_MODES, case_sensitive=False),
        default="UPSERT",
        show_default=True,
        help="Replace all tags, set these, or remove these.",
    )
    return mode(click.argument("tags", nargs=-1, metavar="[KEY[=VALUE]]...")(function))


def tags_of(texts: Sequence[str], mode: str) -> list[Tag]:
    """``KEY`` and ``KEY=VALUE`` texts as tags. Raises BadInput for an empty key, a value to remove, and for nothing."""
    if not texts and mode != "REPLACE":
        raise BadInput(f"cannot {mode.lower()} no tags: name one, as KEY or KEY=VALUE")
    tags = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not key:
            raise BadInput(f"cannot use tag {text!r}: write KEY or KEY=VALUE")
        if mode == "REMOVE" and equals:
            raise BadInput(f"cannot remove tag {text!r}: name its key alone, {key}")
        tags.append(Tag(key, value))
    return tags
