"""``install`` and ``completion``: text that systemd and shells read."""

from __future__ import annotations

import configparser
import os
import subprocess
from pathlib import Path

import pytest

from svcmgr.cli import install


def parsed(text):
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read_string(text)
    return parser


def test_the_unit_leaves_services_alone(svcmgr, root):
    result = svcmgr("install")
    assert result.code == 0
    service = parsed(result.out)["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert service["KillMode"] == "process"
    assert service["Delegate"] == "yes"
    assert service["ExecStart"].endswith(f"--root {root}")
    assert service["ExecReload"].endswith(f"--root {root} reload")
    for key in ("ExecStart", "ExecReload"):
        assert os.path.isabs(service[key].split()[0])
    assert parsed(result.out)["Install"]["WantedBy"] == "multi-user.target"


def test_the_user_unit(svcmgr):
    document = svcmgr("install", "--user", "--json").json
    assert document["path"].startswith("~/.config/systemd/user/")
    assert parsed(document["unit"])["Install"]["WantedBy"] == "default.target"


def test_the_default_root_is_not_named():
    assert "--root" not in install.unit(None, user_unit=False, path="x")


def test_odd_characters_mean_themselves():
    text = install.unit(Path('/srv/a b/100%/$x/"q"'), user_unit=False, path="x")
    assert r'--root "/srv/a b/100%%/$$x/\"q\""' in parsed(text)["Service"]["ExecStart"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_calls_us(svcmgr, shell):
    result = svcmgr("completion", shell)
    assert result.code == 0
    assert f"_SVCMGR_COMPLETE={shell}_complete" in result.out
    assert svcmgr("completion", shell, "--json").json["script"] in result.out


def test_the_bash_script_is_bash(svcmgr, tmp_path):
    script = tmp_path / "completion"
    script.write_text(svcmgr("completion", "bash").out)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_an_unknown_shell_is_usage(svcmgr):
    assert svcmgr("completion", "csh").code == 2


def completed(svcmgr_process, words, root):
    """What bash is offered for the last of ``words``."""
    environ = {
        **os.environ,
        "_SVCMGR_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["svcmgr", "--root", str(root), *words]),
        "COMP_CWORD": str(len(words) + 2),
    }
    result = svcmgr_process(env=environ)
    assert result.err == ""
    return [line.partition(",")[2] for line in result.out.splitlines() if line]


def test_completion_offers_commands_options_and_services(svcmgrd, svcmgr_process, root):
    from svcmgr.host.wire import ServiceRow

    svcmgrd.status(*(ServiceRow(name, "web", "up", "running", "online", 0) for name in ("web@1", "web@2", "db")))
    assert completed(svcmgr_process, ["sta"], root) == ["status", "start"]
    assert completed(svcmgr_process, ["stop", "we"], root) == ["web@1", "web@2"]
    assert "--timeout" in completed(svcmgr_process, ["stop", "--t"], root)


def test_completion_without_svcmgrd_is_silent(svcmgr_process, root):
    assert completed(svcmgr_process, ["stop", "we"], root) == []
