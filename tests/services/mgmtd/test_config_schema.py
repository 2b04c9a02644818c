"""What a configuration may hold, and how a fault in one is told."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.config.differences import Change, Difference, between, compare, split, unified
from svcmgr.services.mgmtd.config.document import FAULTS_MAX, KEYS_MAX
from svcmgr.services.mgmtd.config.errors import InvalidConfig
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.kinds import Bool, Choice, Duration, Integer, Listing, Number, Size, Text
from svcmgr.services.mgmtd.config.own import MGMTD
from svcmgr.services.mgmtd.config.schema import Key, Rule, Schema
from svcmgr.services.mgmtd.config.version import ConfigVersion, Proposal

SCHEMA = Schema(
    "storage",
    (
        Key("threads", Integer(1, 64, "threads"), 8, "Worker threads.", hot=False),
        Key("log.level", Choice(("info", "debug")), "info", "How much is logged."),
        Key("log.path", Text(100, "/.*", "an absolute path"), "/var/log", "Where.", hot=False),
        Key("cache", Size(0, 2**40), 2**20, "Memory for reads."),
        Key("idle", Duration(0.5, 3600), 60.0, "When a connection is closed."),
        Key("ratio", Number(0, 1), 0.5, "How much of it."),
        Key("peers", Listing(Text(50), 3), (), "Whom to ask."),
        Key("fast", Bool(), False, "Whether."),
    ),
    (Rule(("idle", "threads"), lambda values: values["threads"] != 13 or values["idle"] == 60.0, "13 needs idle 60"),),
)


def refused(text: str, schema: Schema = SCHEMA) -> InvalidConfig:
    with pytest.raises(InvalidConfig) as caught:
        schema.read(text)
    return caught.value


def test_what_is_not_written_has_its_default():
    reading = SCHEMA.read("threads = 4\n[log]\nlevel = 'debug'\n")
    assert reading.written == {"threads": 4, "log.level": "debug"}
    assert reading.values == {**SCHEMA.defaults(), "threads": 4, "log.level": "debug"}
    assert SCHEMA.read("# nothing\n").values == SCHEMA.defaults()


@pytest.mark.parametrize(
    ("text", "line", "column", "key"),
    [
        ("threads = ", 1, 11, "threads"),
        ("\n  threads = 0", 2, 3, "threads"),
        ("threads = true", 1, 1, "threads"),
        ("threads = 8.0", 1, 1, "threads"),
        ("\n[log]\nlevel = 'loud'", 3, 1, "log.level"),
        ("log.level = 'loud'", 1, 1, "log.level"),
        ("log = {level = 'info', path = 'x'}", 1, 24, "log.path"),
        ("log = 3", 1, 1, "log"),
        ("thread = 3", 1, 1, "thread"),
        ("[[log]]\nlevel = 'info'", 1, 3, "log"),
        ("\n[logs]\n", 2, 2, "logs"),
        ("'log.level' = 'info'", 1, 1, "'log.level'"),
        ("ratio = nan", 1, 1, "ratio"),
        ("ratio = inf", 1, 1, "ratio"),
        ("peers = ['a', 1]", 1, 1, "peers"),
        ("peers = ['a', 'b', 'c', 'd']", 1, 1, "peers"),
        ("idle = 1979-05-27", 1, 1, "idle"),
        ("threads = 0x" + "f" * 6000, 1, 1, "threads"),
        ("ratio = 0x" + "f" * 6000, 1, 1, "ratio"),
        ("cache = '1 MB'", 1, 1, "cache"),
        ("log.path = '/a\\u0007'\nlog.path = 1", 2, 13, "log.path"),
        ("fast = 1\nfast = 2", 2, 9, "fast"),
        ("a.b = 1\n[a.c]\n[a.c]\n", 3, 5, ""),
        ("x = " + "1" * 5000, 1, 5, "x"),
        ("threads = 13\nidle = 5", 2, 1, "idle"),
        ("threads = 13\nidle = 60.5", 2, 1, "idle"),
    ],
)
def test_G06_a_text_that_is_no_good_is_refused_with_line_column_and_key(text, line, column, key):
    error = refused(text)
    where = {name: error.details[name] for name in ("line", "column", "key")}
    assert where == {"line": line, "column": column, "key": key}
    assert error.number == 4
    assert error.details["faults"]


def test_G06_all_faults_are_told_in_order_and_the_near_key_is_named():
    error = refused("thread = 3\nfast = 2\nidle = '3 weeks'\n")
    faults = error.details["faults"]
    assert [fault.partition(",")[0] for fault in faults] == ["line 1", "line 2", "line 3"]
    assert "threads" in faults[0]
    assert "true or false" in faults[1]


def test_many_faults_are_cut_off_and_cheap():
    began = time.perf_counter()
    error = refused("".join(f"threadz{number} = 1\n" for number in range(KEYS_MAX - 1)))
    assert len(error.details["faults"]) == FAULTS_MAX
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "text",
    ["a." * 100_000 + "a = 1", "[" + "a . " * 50_000 + "a]", "a = " + "[" * 5000, "a = " + "{a = " * 5000, "a\x00 = 1"],
)
def test_hostile_texts_are_refused_soon(text):
    began = time.perf_counter()
    refused(text)
    assert time.perf_counter() - began < 5


def test_too_many_keys_are_refused():
    keys = ", ".join(f"k{number} = 1" for number in range(KEYS_MAX + 1))
    assert str(KEYS_MAX) in refused(f"x = {{{keys}}}").message


@pytest.mark.parametrize(
    ("kind", "raw", "value", "shown"),
    [
        (Duration(), "90s", 90.0, '"90s"'),
        (Duration(), "2min", 120.0, '"2min"'),
        (Duration(), "2m", 120.0, '"2min"'),
        (Duration(), "1.5h", 5400.0, '"90min"'),
        (Duration(), "250ms", 0.25, '"0.25s"'),
        (Duration(), "100us", 0.0001, '"0.0001s"'),
        (Duration(), 7, 7.0, '"7s"'),
        (Duration(), 0, 0.0, '"0s"'),
        (Duration(), "2d", 172800.0, '"2d"'),
        (Size(), "2GiB", 2**31, '"2GiB"'),
        (Size(), "1536KiB", 1536 * 1024, '"1536KiB"'),
        (Size(), 1000, 1000, '"1000B"'),
        (Size(), 0, 0, '"0B"'),
        (Number(), 3, 3.0, "3.0"),
        (Integer(-1), -1, -1, "-1"),
        (Bool(), True, True, "true"),
        (Text(), 'a"\\', 'a"\\', '"a\\"\\\\"'),
        (Choice(("a", "b")), "b", "b", '"b"'),
        (Listing(Duration()), ["1m", 5], (60.0, 5.0), '["1min", "5s"]'),
    ],
)
def test_values_have_one_canonical_form(kind, raw, value, shown):
    assert kind.read(raw) == value
    assert type(kind.read(raw)) is type(value)
    assert kind.show(value) == shown


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (Duration(), "90"),
        (Duration(), "-1s"),
        (Duration(), "1 week"),
        (Duration(), "٣s"),
        (Duration(), -1),
        (Duration(), True),
        (Duration(), 10**400),
        (Size(), "2GB"),
        (Size(), 1.0),
        (Size(), "9" * 400 + "B"),
        (Integer(), 2**63),
        (Integer(), "1"),
        (Bool(), 1),
        (Text(3), "four"),
        (Text(), "a\nb"),
        (Text(), "\u2028"),
        (Choice(("a",)), "A"),
        (Choice(("a",)), ["a"]),
        (Listing(Bool()), True),
    ],
)
def test_values_that_are_not_allowed(kind, raw):
    with pytest.raises(ValueError):
        kind.read(raw)


@given(st.floats(0, 366 * 86400).map(lambda seconds: round(seconds, 3)))
def test_a_duration_is_read_back_as_it_is_shown(seconds):
    assert Duration().read(Duration().show(seconds).strip('"')) == pytest.approx(seconds, abs=1e-9)


@given(st.integers(0, 2**60))
def test_a_size_is_read_back_as_it_is_shown(size):
    assert Size().read(Size().show(size).strip('"')) == size


KEY = Key("a", Integer(0, 5), 1, "A.")


@pytest.mark.parametrize(
    "keys",
    [
        (KEY, KEY),
        (KEY, Key("a.b", Bool(), True, "Below a value.")),
        (Key("a", Integer(0, 5), 6, "Out of range."),),
        (Key("a", Duration(), "1m", "Not canonical."),),
        (Key("a", Number(), 1, "Not canonical either."),),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(keys):
    with pytest.raises(BadInput):
        Schema("meta", keys)


def test_a_schema_whose_defaults_break_its_rules_is_refused():
    with pytest.raises(BadInput):
        Schema("meta", (KEY,), (Rule(("a",), lambda values: False, "never"),))


# --- mgmtd's own --------------------------------------------------------------------------------


def test_mgmtd_has_the_defaults_of_its_field():
    assert MGMTD.defaults() == {
        "lease_length": 60.0,
        "extend_lease_interval": 10.0,
        "suspicious_lease_interval": 20.0,
        "extend_lease_check_release_version": True,
        "validate_lease_on_write": True,
        "heartbeat_timestamp_valid_window": 30.0,
        "allow_heartbeat_from_unregistered": False,
        "heartbeat_fail_interval": 60.0,
        "heartbeat_ignore_stale_targets": True,
        "check_status_interval": 10.0,
        "send_heartbeat": True,
        "send_heartbeat_interval": 10.0,
        "new_chain_bootstrap_interval": 120.0,
        "bootstrapping_length": 120.0,
        "update_chains_interval": 1.0,
        "bump_routing_info_version_interval": 5.0,
        "client_session_timeout": 1200.0,
        "only_accept_client_uuid": False,
        "target_info_persist_interval": 1.0,
        "target_info_persist_batch": 1000,
        "target_info_load_interval": 1.0,
        "try_adjust_target_order_as_preferred": False,
        "enable_routinginfo_cache": True,
        "update_metrics_interval": 1.0,
        "authenticate": False,
        "retry_times_on_txn_errors": -1,
        "retry_transaction.max_backoff": 1.0,
        "retry_transaction.max_retry_count": 10,
    }


def test_mgmtd_reads_what_it_shows():
    text = "\n".join(f"{key.name} = {key.kind.show(key.default)}" for key in MGMTD.keys)
    assert MGMTD.read(text).written == MGMTD.defaults()
    assert all(key.help.endswith(".") for key in MGMTD.keys)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("lease_length = '30s'", "lease_length"),
        ("suspicious_lease_interval = '50s'", "suspicious_lease_interval"),
        ("heartbeat_fail_interval = '10s'", "heartbeat_fail_interval"),
        ("update_chains_interval = 0", "update_chains_interval"),
    ],
)
def test_mgmtd_refuses_what_would_stop_it(text, key):
    assert refused(text, MGMTD).details["key"] == key


# --- differences --------------------------------------------------------------------------------


def test_differences_are_of_values_and_named_by_key():
    old = SCHEMA.read("idle = '1m'\nthreads = 4\nfast = true").written
    new = SCHEMA.read("idle = 60\nthreads = 5\ncache = '1KiB'").written
    found = compare(old, new)
    assert found == (
        Difference("cache", Change.ADDED, None, 1024),
        Difference("fast", Change.REMOVED, True, None),
        Difference("threads", Change.CHANGED, 4, 5),
    )
    parts = split(SCHEMA, [*found, Difference("gone", Change.REMOVED, 1, None)])
    assert [each.key for each in parts.hot] == ["cache", "fast"]
    assert [each.key for each in parts.cold] == ["threads", "gone"]


VALUES = st.dictionaries(
    st.sampled_from("abcdef"), st.one_of(st.integers(), st.text(max_size=3), st.tuples(st.integers()))
)


@given(VALUES, VALUES)
def test_differences_lead_from_one_to_the_other_and_back(old, new):
    made = dict(old)
    for each in compare(old, new):
        assert made.get(each.key) == each.old
        if each.new is None:
            del made[each.key]
        else:
            made[each.key] = each.new
    assert made == new
    assert compare(old, old) == ()
    assert [(each.key, each.new, each.old) for each in compare(new, old)] == [
        (each.key, each.old, each.new) for each in compare(old, new)
    ]


def test_lines_that_differ_are_shown_as_diff_shows_them():
    assert unified("a\nb\n", "a\nc", "meta 1", "meta 2") == (
        "--- meta 1\n+++ meta 2\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n\\ No newline at end of file\n"
    )
    assert unified("a\n", "a\n", "1", "2") == ""


def test_two_versions_differ_by_key_on_a_node_and_by_line_for_everyone():
    old, new = (
        ConfigVersion.make(number, Proposal(text), 0.0)
        for number, text in ((1, "threads = 4\n"), (2, 'threads = {{ tag "threads" "4" }}\nidle = 60\n'))
    )
    plain, tuned = Facts(1, "h", "storage"), Facts(2, "h", "storage", {"threads": "5"})
    assert [(each.key, each.change) for each in between(SCHEMA, plain, old, new).keys] == [("idle", Change.ADDED)]
    assert [each.key for each in between(SCHEMA, tuned, old, new).keys] == ["idle", "threads"]
    lines = between(SCHEMA, plain, old, new).lines
    assert lines.startswith("--- storage 1\n+++ storage 2\n")
    assert "-threads = 4\n+threads" in lines


def test_a_version_that_is_older_than_the_schema_is_compared_by_line():
    old, new = (ConfigVersion.make(n, Proposal(text), 0.0) for n, text in ((1, "gone = 1\n"), (2, "fast = true\n")))
    found = between(SCHEMA, Facts(1, "h", "storage"), old, new)
    assert found.keys == ()
    assert "gone" in found.unread
    assert "-gone = 1\n+fast = true\n" in found.lines


def test_the_worst_texts_are_compared_soon():
    began = time.perf_counter()
    lines = [f"k = {number % 39}\n" for number in range(1_990)]
    assert unified("".join(lines), "".join(reversed(lines)), "1", "2")
    assert time.perf_counter() - began < 10
