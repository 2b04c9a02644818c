"""``svcmgr doctor``: what looks wrong, and what to do about it."""

from __future__ import annotations

import sys

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.errors import EXIT_FAILED, EXIT_NO_SVCMGRD, EXIT_OK, NoSvcmgrd
from svcmgr.host.wire import Finding

#: Looking around takes longer than answering from memory, seconds.
DOCTOR_TIMEOUT_S = 60.0
_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@command("doctor", "svcmgr doctor", "svcmgr doctor --json")
@json_option
@click.pass_obj
def doctor(app: App, as_json: bool) -> int:
    """Look for what is wrong on this root: files, leftovers, limits.

    Exit code 1 when there is an error among the findings.
    """
    try:
        with app.connect() as client:
            findings = client.call("doctor", timeout=DOCTOR_TIMEOUT_S, type=list[Finding])
    except NoSvcmgrd as error:
        findings = [Finding("error", "svcmgrd", error.message, "start it with `svcmgr up`, then ask again")]
        _print(app, findings, as_json)
        return EXIT_NO_SVCMGRD
    _print(app, findings, as_json)
    return EXIT_FAILED if any(finding.level == "error" for finding in findings) else EXIT_OK


def _print(app: App, findings: list[Finding], as_json: bool) -> None:
    if as_json:
        objects = [{"level": f.level, "subject": f.subject, "text": f.text, "advice": f.advice} for f in findings]
        render.write(render.json_document({"findings": objects}))
        return
    colour = render.use_colour(sys.stdout, app.environ)
    for finding in findings:
        level = render.paint(f"{finding.level:<7}", _COLOURS.get(finding.level), colour)
        render.out(f"{level}  {render.clean(finding.subject)}: {render.clean(finding.text)}")
        if finding.advice:
            render.out(f"{'':9}-> {render.clean(finding.advice)}")
    if not findings:
        render.out("nothing looks wrong")
