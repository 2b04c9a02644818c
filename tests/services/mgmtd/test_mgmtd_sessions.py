"""Client sessions and configuration versions: the pure rules."""

from __future__ import annotations

import uuid
from typing import Any

import attrs
import pytest

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.errors import ClientSessionVersionStale, ExtendClientSessionMismatch, InvalidConfigVersion
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.sessions import ClientFacts, Extension, check, expired, extend
from svcmgr.services.mgmtd.setting import (
    CONTENT_MAX,
    ConfigVersion,
    Wish,
    check_known,
    newest,
    next_version,
    rollback,
)
from svcmgr.services.mgmtd.states import NodeType

ID = str(uuid.UUID(int=5))
NOW, LATER = Moment(10.0, 1000.0), Moment(30.0, 1020.0)


def call(version: int = 1, client: str = ID, **facts: Any) -> Extension:
    return Extension(client=client, facts=ClientFacts(**{"type": NodeType.CLIENT, **facts}), version=version)


def test_S01_a_session_begins_and_is_extended():
    first = extend(None, call(1), NOW)
    assert (first.session_start, first.last_extend) == (1000.0, 1000.0)
    second = extend(first, call(2), LATER)
    assert (second.session_start, second.last_extend, second.version) == (1000.0, 1020.0, 2)


@pytest.mark.parametrize(("had", "given"), [(1, 1), (2, 2), (2, 1)])
def test_S02_S03_a_version_that_is_not_newer_is_stale(had, given):
    session = extend(None, call(had), NOW)
    with pytest.raises(ClientSessionVersionStale) as error:
        extend(session, call(given), LATER)
    assert error.value.details["version"] == had


@pytest.mark.parametrize(
    ("asked", "strict", "fine"),
    [
        (call(client=""), False, False),
        (call(client="x" * 65), False, False),
        (call(client="no\nid"), False, False),
        (call(client="host-7"), True, False),
        (call(client="host-7"), False, True),
        (call(), True, True),
        (call(type=NodeType.META), False, False),
        (call(type=NodeType.FUSE), False, True),
        (call(version=0), False, False),
        (call(universal_id="u" * 256), False, False),
        (call(description="d\0"), False, False),
    ],
)
def test_S05_who_may_be_a_client(asked, strict, fine):
    if fine:
        check(asked, uuid_only=strict)
    else:
        with pytest.raises(BadInput):
            check(asked, uuid_only=strict)


@pytest.mark.parametrize(
    "facts",
    [{"universal_id": "h"}, {"description": "d"}, {"release": "1.0.0"}, {"type": NodeType.FUSE}, {"start": 5.0}],
)
def test_a_client_does_not_become_another(facts):
    session = extend(None, call(1), NOW)
    with pytest.raises(ExtendClientSessionMismatch):
        extend(session, call(2, **facts), LATER)


def test_S06_a_session_ends_after_more_than_its_time():
    session = extend(None, call(1), NOW)
    assert not expired(session, 1200.0, Moment(1210.0, 0.0))
    assert expired(session, 1200.0, Moment(1210.001, 0.0))


# --- configuration ------------------------------------------------------------------------------------------------


def wish(content: str, **fields: Any) -> Wish:
    return Wish(type=NodeType.META, content=content, **fields)


def history(*contents: str) -> dict[int, ConfigVersion]:
    versions: dict[int, ConfigVersion] = {}
    for content in contents:
        made = next_version(wish(content), versions, 5.0)
        versions[made.version] = made
    return versions


def test_G02_versions_count_from_one():
    versions = history("a", "b")
    assert {number: one.content for number, one in versions.items()} == {1: "a", 2: "b"}
    assert newest(NodeType.META, {}).version == 0


def test_G03_a_version_above_the_newest_is_refused():
    check_known(NodeType.META, 2, history("a", "b"))
    with pytest.raises(InvalidConfigVersion) as error:
        check_known(NodeType.META, 9, history("a", "b"))
    assert error.value.details["newest"] == 2


def test_G07_going_back_is_a_new_version_that_says_from_where():
    back = rollback(NodeType.META, 1, "me", history("a", "b"), 9.0)
    assert (back.version, back.content, back.origin, back.author) == (3, "a", "rollback of 2 to 1", "me")
    for missing in (0, 3):
        with pytest.raises(InvalidConfigVersion):
            rollback(NodeType.META, missing, "", history("a", "b"), 9.0)


def test_G09_the_same_text_makes_no_version_unless_forced():
    versions = history("a")
    assert next_version(wish("a"), versions, 9.0) is versions[1]
    assert next_version(wish("a", force=True), versions, 9.0).version == 2


@pytest.mark.parametrize(
    "asked",
    [wish("x" * (CONTENT_MAX + 1)), wish("\ud800"), wish("", desc="d" * 1001), wish("", author="a" * 256)],
)
def test_a_configuration_that_cannot_be_stored_is_refused(asked):
    with pytest.raises(BadInput):
        next_version(asked, {}, 0.0)


def test_a_version_has_the_digest_of_its_text():
    assert history("a")[1].digest == attrs.evolve(history("a", "b", "a")[3]).digest
