"""Bad names, bad definitions, programs that cannot be started: each told clearly, the others unharmed.

A clock that is set back cannot be had here without harming the machine; durations come from the monotonic clock, which
tests/svc and tests/conn show with a fake one.
"""

import os
import pwd

import pytest

from svcmgr.errors import BadInput, SvcmgrError
from tests.kit.rootdir import sh, until

BAD_NAMES = {
    "slash": "a/b",
    "parent": "..",
    "escape": "../../etc/passwd",
    "nul": "a\0b",
    "long": "x" * 300,
    "empty": "",
    "dash": "-rf",
    "newline": "a\nb",
    "space": "a b",
    "escape-code": "a\x1b[31mb",
    "instance": "a@../b",
    "two-at": "a@b@c",
    "no-instance": "a@",
}
VERBS = ("start", "stop", "restart", "reload", "enable", "disable", "remove", "status")


def files(root):
    return sorted(str(p) for p in root.path.rglob("*") if not str(p).startswith(str(root.layout.log)))


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_a_bad_name_never_becomes_a_path(shared, name):
    before = files(shared)
    with pytest.raises(BadInput) as refused:
        shared.call("add", name=name, definition={"command": ["/bin/true"]}, start=True)
    assert refused.value.message.startswith("cannot")
    assert len(refused.value.message) < 400
    for verb in VERBS:
        with pytest.raises(BadInput):
            shared.call(verb, names=[name])
    with pytest.raises(BadInput):
        shared.call("show", name=name)
    assert files(shared) == before


@pytest.mark.parametrize(
    "name", [n for n in BAD_NAMES.values() if "\0" not in n], ids=[k for k in BAD_NAMES if k != "nul"]
)
def test_a_bad_name_on_the_command_line(shared, name):
    before = files(shared)
    for command in (["add", "--", name, "/bin/true"], ["start", "--", name], ["logs", "--", name]):
        done = shared.cli(*command, code=2)
        assert len(done.stderr) < 1500
        assert "\x1b" not in done.stderr
    assert files(shared) == before


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"names": "web"},
        {"names": [1]},
        {"names": [["web"]]},
        {"names": ["web"], "timeout_s": "soon"},
        {"names": ["web"], "timeout_s": -1.0},
        {"names": ["web"], "timeout_s": 1e12},
        {"names": ["web"] * 20_000},
        [],
        "web",
        7,
        b"\xff",
    ],
    ids=repr,
)
def test_a_request_of_the_wrong_shape_is_refused(shared, request_):
    shared.add("web", ["/bin/sleep", "600"], replace=True)
    with shared.client() as client:
        with pytest.raises(BadInput):
            client.call("start", request_)
        client.call("hello")
    assert shared.state("web") == "down"
    shared.call("remove", names=["web"])


# --- definitions --------------------------------------------------------------------------------------------

BAD_DEFINITIONS = {
    "syntax": ('command = ["/bin/true"]\nrestart = always\n', 2, "restart"),
    "unclosed": ('command = ["/bin/true"\n', None, ""),
    "duplicate": ('command = ["/bin/true"]\nnice = 1\nnice = 2\n', 3, "nice"),
    "unknown": ('command = ["/bin/true"]\nrestrat = "always"\n', 2, "restrat"),
    "unknown-table": ('command = ["/bin/true"]\n[environment]\nA = "b"\n', 2, "environment"),
    "type": ('command = ["/bin/true"]\nnice = "high"\n', 2, "nice"),
    "string": ('description = "x"\ncommand = "/bin/true -x"\n', 2, "command"),
    "choice": ('command = ["/bin/true"]\n\nrestart = "sometimes"\n', 3, "restart"),
    "range": ('command = ["/bin/true"]\nstop_grace = -1\n', 2, "stop_grace"),
    "nan": ('command = ["/bin/true"]\nstop_grace = nan\n', 2, "stop_grace"),
    "nan-delay": ('command = ["/bin/true"]\nrestart_delay = nan\n', 2, "restart_delay"),
    "period": ('command = ["/bin/true"]\nrestart_delay = 1\nrestart_period = -1\n', 3, "restart_period"),
    "delays": ('command = ["/bin/true"]\nrestart_delay_max = 1\nrestart_delay = 2\n', None, "restart_delay"),
    "infinite": ('command = ["/bin/true"]\nstart_timeout = inf\n', 2, "start_timeout"),
    "signal": ('command = ["/bin/true"]\nstop_signal = "SIGNOPE"\n', 2, "stop_signal"),
    "ready": ('command = ["/bin/true"]\nready = "port:80"\n', 2, "ready"),
    "kind": ('kind = "toaster"\n', 1, "kind"),
    "empty-command": ("command = []\n", 1, "command"),
    "relative": ('command = ["/bin/true"]\ncwd = "tmp"\n', 2, "cwd"),
    "requires": ('command = ["/bin/true"]\nrequires = ["../x"]\n', 2, "requires"),
    "limit": ('command = ["/bin/true"]\n[rlimits]\nnofile = [10, 5]\n', 2, "rlimits"),
    "limit-name": ('command = ["/bin/true"]\nrlimits = {nofiles = 10}\n', 2, "rlimits"),
    "umask": ('command = ["/bin/true"]\numask = "999"\n', 2, "umask"),
    "nothing": ("", None, "command"),
    "nul": ('command = ["/bin/true\\u0000x"]\n', 1, "command"),
    "env": ('command = ["/bin/true"]\nenv = {"A=B" = "c"}\n', 2, "env"),
}


def test_every_bad_definition_is_told_with_file_line_and_key_and_the_others_run(bare):
    bare.define("web", ["/bin/sleep", "600"])
    paths = {}
    for name, (text, _, _) in BAD_DEFINITIONS.items():
        paths[name] = bare.layout.definitions / f"{name}.toml"
        paths[name].write_text(text)
    (bare.layout.definitions / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (bare.layout.definitions / "huge.toml").write_text("#" * (300 * 1024))
    (bare.layout.definitions / "directory.toml").mkdir()
    (bare.layout.definitions / "dangling.toml").symlink_to("/nonexistent/x")
    (bare.layout.definitions / "bad name.toml").write_text('command = ["/bin/true"]\n')
    os.mkfifo(bare.layout.definitions / "fifo.toml")
    bare.up()
    bare.running("web")
    told = bare.json("status")["svcmgrd"]["invalid"]
    assert set(told) == {*BAD_DEFINITIONS, "binary", "huge", "directory", "dangling", "bad name", "fifo"}
    for name, (_, line, key) in BAD_DEFINITIONS.items():
        where = str(paths[name]) if line is None else f"{paths[name]}:{line}"
        assert where in told[name], told[name]
        assert key in told[name], told[name]
    for name in ("binary", "huge", "directory", "dangling", "fifo"):
        assert str(bare.layout.definitions / f"{name}.toml") in told[name], told[name]
    assert {s["name"] for s in bare.json("status")["services"]} == {"web"}


def test_a_circle_of_requirements_is_told_and_the_others_run(bare):
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        bare.define(name, ["/bin/sleep", "600"], requires=[other])
    bare.define("self", ["/bin/sleep", "600"], requires=["self"])
    bare.define("web", ["/bin/sleep", "600"])
    bare.up()
    bare.running("web")
    told = bare.json("status")["svcmgrd"]["invalid"]
    assert set(told) == {"a", "b", "c", "self"}
    with pytest.raises(SvcmgrError, match="web"):
        bare.add("db", ["/bin/sleep", "600"], requires=["web"], after=["web"]) and bare.call(
            "add", name="web", definition={"command": ["/bin/sleep", "600"], "requires": ["db"]}, replace=True
        )
    assert bare.json("show", "web")["services"]["web"]["requires"] == []


def test_a_requirement_that_is_not_defined_is_told_at_the_start(root):
    root.add("web", ["/bin/sleep", "600"], requires=["db"])
    done = root.cli("start", "web", code=1)
    assert "db" in done.stderr
    assert not root.processes()
    root.add("db", ["/bin/sleep", "600"])
    root.cli("start", "web")


# --- programs -----------------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path):
    """Files that cannot be run, by why."""
    made = {
        "plain": ("echo hello\n", 0o644),
        "interpreter": ("#!/no/such/interpreter\n", 0o755),
        "format": ("\x7fELF but not really", 0o755),
    }
    for name, (text, mode) in made.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    return tmp_path


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"command": ["/no/such/program"]}, ("/no/such/program",)),
        ({"command": ["no-such-program"]}, ("no-such-program", "PATH")),
        ({"command": ["{programs}/plain"]}, ("plain", "Permission denied")),
        ({"command": ["{programs}/interpreter"]}, ("interpreter",)),
        ({"command": ["{programs}/format"]}, ("format", "neither")),
        ({"command": ["{programs}"]}, ("Permission denied",)),
        ({"command": ["/bin/sleep", "600"], "cwd": "/no/such/directory"}, ("/no/such/directory", "working directory")),
        ({"command": ["/bin/sleep", "600"], "cwd": "/etc/passwd"}, ("/etc/passwd", "working directory")),
        ({"command": ["/bin/sleep", "600"], "user": "no-such-user"}, ("no-such-user",)),
        ({"command": ["/bin/sleep", "600"], "group": "no-such-group"}, ("no-such-group",)),
        ({"command": ["/bin/sleep", "600"], "rlimits": {"nofile": 1 << 40}}, ("nofile",)),
        ({"command": ["/bin/echo", "x" * (1 << 18)]}, ("Argument list too long",)),
    ],
    ids=lambda value: "-".join(value).replace("/", "_")[:40] if isinstance(value, tuple) else "",
)
def test_a_program_that_cannot_be_started_is_told_at_once_and_not_tried_again(shared, programs, keys, words):
    keys = {**keys, "command": [word.replace("{programs}", str(programs)) for word in keys["command"]]}
    shared.add("bad", **keys)
    (outcome,) = shared.json("start", "bad", code=1)["outcomes"]
    assert outcome["result"] == "failed"
    for word in words:
        assert word in outcome["text"], outcome["text"]
    row = shared.row("bad")
    assert (row["state"], row["pid"], row["restarts"]) == ("failed", None, 0)
    assert not shared.processes("bad")
    shared.add("bad", ["/bin/sleep", "600"], replace=True, start=True)
    shared.call("remove", names=["bad"], stop=True)


def test_a_user_that_is_gone_does_not_keep_svcmgrd_from_coming_up(bare):
    """The process runs; only the next start needs the user."""
    bare.define("web", ["/bin/sleep", "600"])
    bare.define("other", ["/bin/sleep", "600"])
    bare.up()
    other = bare.running("other")
    bare.kill()
    bare.define("web", ["/bin/sleep", "600"], user="no-such-user", restart="never")
    bare.up()
    assert bare.running("other") == other
    until(lambda: bare.state("web") == "failed", "the failed replacement")
    assert "no-such-user" in bare.row("web")["reason"]


def test_a_service_runs_as_its_user(root):
    entry = pwd.getpwnam("nobody")
    root.add("web", sh("id -u; echo $HOME; exec sleep 600"), user="nobody", start=True)
    log = root.said("web", entry.pw_dir)
    assert log.splitlines() == [str(entry.pw_uid), entry.pw_dir]
