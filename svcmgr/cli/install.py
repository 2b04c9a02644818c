"""``svcmgr install``: the systemd unit for this svcmgrd, for people to look at and put in place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.errors import EXIT_OK

_UNIT = """\
# {path}
[Unit]
Description=svcmgr host daemon{title}
After={after}

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
ExecReload={reload}
# Only svcmgrd is stopped with the unit: its services stay, and the next svcmgrd takes them over.
KillMode=process
Delegate=yes
Restart=on-failure
RestartSec=1
TimeoutStopSec=120
LimitNOFILE=65536

[Install]
WantedBy={target}
"""


@command(
    "install",
    "svcmgr install > /etc/systemd/system/svcmgrd.service",
    "svcmgr install --user > ~/.config/systemd/user/svcmgrd.service",
)
@json_option
@click.option("--user", "user_unit", is_flag=True, help="A unit for the systemd of one user.")
@click.pass_obj
def install(app: App, as_json: bool, user_unit: bool) -> int:
    """Print a systemd unit for svcmgrd. Nothing is written; the first line says where it belongs."""
    path = unit_path(user_unit)
    text = unit(app.layout.root, user_unit=user_unit, path=path)
    render.write(render.json_document({"path": path, "unit": text}) if as_json else text)
    return EXIT_OK


def unit_path(user_unit: bool) -> str:
    """Where the unit belongs (systemd.unit(5), "Unit File Load Path")."""
    return "~/.config/systemd/user/svcmgrd.service" if user_unit else "/etc/systemd/system/svcmgrd.service"


def unit(root: Path | None, *, user_unit: bool, path: str) -> str:
    """The text of the unit."""
    options = [] if root is None else ["--root", str(root)]
    return _UNIT.format(
        path=path,
        title="" if root is None else f" ({escape(str(root))})",
        # A user manager has no network target (systemd.special(7)).
        after="basic.target" if user_unit else "network.target local-fs.target",
        start=_join([*program("svcmgrd", "svcmgr.host"), *options]),
        reload=_join([*program("svcmgr", "svcmgr.cli"), *options, "reload"]),
        target="default.target" if user_unit else "multi-user.target",
    )


def program(name: str, module: str) -> list[str]:
    """The installed program beside this interpreter, else the module run by the interpreter."""
    installed = Path(sys.executable).parent / name
    return [str(installed)] if os.access(installed, os.X_OK) else [sys.executable, "-P", "-m", module]


def escape(text: str) -> str:
    """``text`` with specifiers disarmed (systemd.unit(5): ``%`` begins one)."""
    return text.replace("%", "%%")


def _join(argv: list[str]) -> str:
    """A command line as systemd reads it (systemd.service(5), "Command lines")."""
    return " ".join(_quote(escape(arg).replace("$", "$$")) for arg in argv)


def _quote(arg: str) -> str:
    if arg and not any(character.isspace() or character in "\"'\\;" for character in arg):
        return arg
    return '"' + arg.replace("\\", "\\\\").replace('"', '\\"') + '"'
