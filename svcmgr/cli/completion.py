"""``svcmgr completion``: the script a shell sources, and the answers to what that script asks."""

from __future__ import annotations

import click

from svcmgr.cli import render
from svcmgr.cli.options import command, json_option
from svcmgr.errors import EXIT_FAILED, EXIT_OK, SvcmgrError

_VARIABLE = "_SVCMGR_COMPLETE"


@command(
    "completion",
    'eval "$(svcmgr completion bash)"',
    "svcmgr completion zsh > ~/.zfunc/_svcmgr",
    "svcmgr completion fish > ~/.config/fish/completions/svcmgr.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def completion(shell: str, as_json: bool) -> int:
    """Print what makes SHELL complete commands, options and names of services."""
    script = source(shell)
    render.write(render.json_document({"shell": shell, "script": script}) if as_json else script + "\n")
    return EXIT_OK


def source(shell: str) -> str:
    """The script for ``shell``."""
    from click.shell_completion import BashComplete, ShellComplete, get_completion_class

    from svcmgr.cli.group import cli

    found = get_completion_class(shell)
    if found is None:
        raise SvcmgrError(f"cannot complete for {shell}: this click does not know it")
    maker = found(cli, {}, "svcmgr", _VARIABLE)
    # The bash class would first run a bash to ask its version, which may not be the one that reads the script.
    return ShellComplete.source(maker) if isinstance(maker, BashComplete) else maker.source()


def answer(instruction: str) -> int:
    """Answer a completion request of a shell. Never raises: a shell has no use for our errors."""
    from click.shell_completion import shell_complete

    from svcmgr.cli.group import cli

    try:
        return shell_complete(cli, {}, "svcmgr", _VARIABLE, instruction)
    except Exception:  # whatever it is, the user is in the middle of typing
        return EXIT_FAILED
    finally:
        render.flush()
