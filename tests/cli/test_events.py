"""``events``: the ring in batches, following, and what is no longer kept."""

from __future__ import annotations

import asyncio
import json

from svcmgr.errors import UnknownService
from svcmgr.host.wire import EventRow, EventsReply
from tests.cli.conftest import NOW


def ring(size, lost=0):
    """An ``events`` verb over ``size`` events that never waits."""

    def answer(request):
        first = size if request.since < 0 else request.since
        found = [EventRow(seq, NOW, "Exited", "web", {"code": 2}) for seq in range(first + 1, size + 1)][
            : request.limit
        ]
        return EventsReply(found, next=found[-1].seq if found else size, lost=lost if request.since == 0 else 0)

    return answer


def test_all_of_the_ring_in_batches(svcmgrd, svcmgr, monkeypatch):
    monkeypatch.setattr("svcmgr.cli.events.BATCH", 10)
    svcmgrd.answers["events"] = ring(25, lost=3)
    result = svcmgr("events", "web", "w*", "--json")
    assert result.code == 0
    assert [event["seq"] for event in result.json["events"]] == list(range(1, 26))
    assert (result.json["next"], result.json["lost"]) == (25, 3)
    assert all(request.names == ["web", "w*"] and request.wait_s == 0 for request in svcmgrd.requests("events"))


def test_text_and_since(svcmgrd, svcmgr):
    svcmgrd.answers["events"] = ring(3)
    result = svcmgr("events", "--since", "2")
    assert result.out == "     3  2026-01-31T08:00:00.250Z  web Exited code=2\n"


def test_lost_events_are_counted_on_standard_error(svcmgrd, svcmgr):
    svcmgrd.answers["events"] = ring(1, lost=1)
    assert svcmgr("events").err == "svcmgr: 1 event before these is no longer kept\n"


def test_an_event_of_svcmgrd_has_no_name(svcmgrd, svcmgr):
    svcmgrd.answers["events"] = lambda request: EventsReply([] if request.since else [EventRow(1, NOW, "Booted")], 1)
    assert svcmgr("events", "--json").json["events"] == [
        {"seq": 1, "at": "2026-01-31T08:00:00.250Z", "what": "Booted", "name": None, "fields": {}}
    ]


def follow_three(svcmgrd):
    """Follow three events, one per answer, then svcmgrd ends."""
    asked = []

    def answer(request):
        asked.append(request)
        if len(asked) > 3:
            svcmgrd.stop_soon()
            return asyncio.Event().wait()
        return EventsReply([EventRow(len(asked), NOW, "Exited", "web")], next=len(asked))

    svcmgrd.answers["events"] = answer
    return asked


def test_following_begins_now_and_ends_with_svcmgrd(svcmgrd, svcmgr):
    asked = follow_three(svcmgrd)
    result = svcmgr("events", "-f", "--json")
    assert result.code == 4
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line.get("seq") for line in lines] == [1, 2, 3, None]
    assert lines[3]["error"]["code"] == "no-svcmgrd"
    assert [request.since for request in asked] == [-1, 1, 2, 3]
    assert all(request.wait_s > 0 for request in asked)


def test_following_from_a_sequence_number(svcmgrd, svcmgr):
    asked = follow_three(svcmgrd)
    assert svcmgr("events", "-f", "--since", "0").code == 4
    assert asked[0].since == 0


def test_an_unknown_name_ends_it(svcmgrd, svcmgr):
    svcmgrd.answers["events"] = UnknownService("cannot find service 'x'", near=[])
    assert svcmgr("events", "-f", "x").code == 2
