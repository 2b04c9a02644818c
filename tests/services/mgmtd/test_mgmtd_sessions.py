"""Client sessions: the pure rules."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.errors import ClientSessionVersionStale, ExtendClientSessionMismatch
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.sessions import ClientFacts, Extension, check, expired, extend
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
