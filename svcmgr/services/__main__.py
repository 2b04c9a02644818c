"""Run a daemon by name: ``python -m svcmgr.services MODULE:ATTRIBUTE [the daemon's flags]``.

The attribute is a subclass of :class:`svcmgr.services.daemonkit.Daemon`. Exits 2 when it cannot be had.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from svcmgr.errors import EXIT_USAGE, BadInput
from svcmgr.services.daemonkit import Daemon, run
from svcmgr.services.daemonkit.exits import one_line

_USAGE = "usage: python -m svcmgr.services MODULE:ATTRIBUTE [flags of the daemon]\n"


def load(reference: str) -> type[Daemon]:
    """The daemon class named ``module:attribute``.

    Raises:
        BadInput: not of that form, no such module or attribute, a module that fails to import, or no Daemon.
    """
    module_name, colon, attribute = reference.partition(":")
    if not (module_name and colon and attribute) or module_name.startswith("."):
        raise BadInput(f"cannot run {reference!r}: expected MODULE:ATTRIBUTE")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise BadInput(f"cannot run {reference!r}: {one_line(error)}") from error
    if not (isinstance(found, type) and issubclass(found, Daemon)) or not getattr(found, "name", None):
        raise BadInput(f"cannot run {reference!r}: it is not a Daemon subclass with a name")
    return found


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0].startswith("-"):
        sys.stderr.write(_USAGE)
        return 0 if argv[:1] in (["-h"], ["--help"]) else EXIT_USAGE
    try:
        daemon = load(argv[0])
    except BadInput as error:
        sys.stderr.write(f"svcmgr.services: {error.message}\n")
        return EXIT_USAGE
    return run(daemon, argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
