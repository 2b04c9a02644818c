"""The volfile server: exact ids, one owner each, ready answers, counters that nobody can blow up."""

from __future__ import annotations

import asyncio
import hashlib
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.clock import SystemClock
from svcmgr.conn import Access, BlockingClient, Connected, Connection, ConnSpec, Peer, Server, ServerSpec, Verb
from svcmgr.errors import AlreadyExists, BadInput, BadVolfile
from svcmgr.host.volfiles import ID_MAX, TEXT_MAX, Volfiles
from svcmgr.services.wire import VolfileReply, VolfileRequest

ME = Peer(77, 1000, 1000)
TEXT = "volume v-brick-1\n    type storage/posix\nend-volume\n"


class StillClock:
    """A clock that stands where the test puts it."""

    def __init__(self) -> None:
        self.now = 1.76e9

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> float:
        return self.now


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def volfiles(clock: StillClock) -> Volfiles:
    return Volfiles(clock)


def ask(volfiles: Volfiles, volfile_id: str, peer: Peer = ME) -> VolfileReply:
    return msgspec.msgpack.decode(volfiles.serve(VolfileRequest(volfile_id), peer), type=VolfileReply)


def test_a_published_text_is_served_with_its_checksum(volfiles):
    given_checksum = volfiles.publish("snapd/v0", TEXT, "snapd@v0")
    reply = ask(volfiles, "snapd/v0")
    assert reply == VolfileReply(TEXT, hashlib.sha256(TEXT.encode()).hexdigest())
    assert given_checksum == reply.checksum == volfiles.checksum("snapd/v0")


def test_the_answer_is_encoded_once(volfiles):
    volfiles.publish("a", TEXT, "x")
    first = volfiles.serve(VolfileRequest("a"), ME)
    volfiles.publish("a", TEXT, "x")
    assert volfiles.serve(VolfileRequest("a"), ME) is first


def test_a_new_text_replaces_the_old_one(volfiles):
    old = volfiles.publish("a", "one", "x")
    assert volfiles.publish("a", "two", "x") != old
    assert ask(volfiles, "a").text == "two"


def test_what_was_handed_out_stays_as_it_was(volfiles):
    volfiles.publish("a", "one", "x")
    answer = volfiles.serve(VolfileRequest("a"), ME)
    volfiles.publish("a", "two", "x")
    volfiles.withdraw("x")
    assert msgspec.msgpack.decode(answer, type=VolfileReply).text == "one"


def test_an_id_has_one_owner(volfiles):
    volfiles.publish("a", "one", "x")
    with pytest.raises(AlreadyExists) as caught:
        volfiles.publish("a", "one", "y")
    assert caught.value.details["owner"] == "x"
    volfiles.withdraw("x")
    volfiles.publish("a", "two", "y")
    assert ask(volfiles, "a").text == "two"


def test_withdrawing_takes_all_ids_of_the_owner_and_no_other(volfiles):
    for volfile_id, owner in [("a", "x"), ("b", "x"), ("c", "y")]:
        volfiles.publish(volfile_id, TEXT, owner)
        ask(volfiles, volfile_id)
    volfiles.withdraw("x")
    volfiles.withdraw("x")
    assert [(one.id, one.count) for one in volfiles.facts().asks] == [("c", 1)]
    assert volfiles.checksum("a") is None
    with pytest.raises(BadInput):
        ask(volfiles, "b")


def test_counters_do_not_survive_a_withdrawal(volfiles):
    volfiles.publish("a", TEXT, "x")
    ask(volfiles, "a")
    volfiles.withdraw("x")
    volfiles.publish("a", TEXT, "x")
    assert [(one.count, one.last_at) for one in volfiles.facts().asks] == [(0, None)]


@pytest.mark.parametrize(
    "volfile_id", ["snapd", "snapd/v", "snapd/v00", "SNAPD/v0", "snapd/v0 ", "snapd/*", "/snapd/v0"]
)
def test_only_the_exact_id_is_served(volfiles, volfile_id):
    volfiles.publish("snapd/v0", TEXT, "snapd@v0")
    with pytest.raises(BadInput):
        ask(volfiles, volfile_id)


def test_an_unknown_id_is_told_the_near_ones(volfiles):
    for number in range(200):
        volfiles.publish(f"snapd/volume-{number}", TEXT, f"snapd@volume-{number}")
    with pytest.raises(BadInput) as caught:
        ask(volfiles, "snapd/volumn-1")
    assert "snapd/volume-1" in caught.value.details["near"]
    assert len(caught.value.details["near"]) == 3
    with pytest.raises(BadInput) as caught:
        ask(volfiles, "zzz")
    assert caught.value.details["near"] == []


def test_those_that_begin_alike_are_looked_at_first(volfiles):
    for number in range(200):
        volfiles.publish(f"other/x{number:03}", TEXT, f"x{number}")
    volfiles.publish("snapd/data", TEXT, "snapd@data")
    with pytest.raises(BadInput) as caught:
        ask(volfiles, "snapd/date")
    assert caught.value.details["near"][0] == "snapd/data"


def test_asking_for_what_is_not_there_costs_little(volfiles, monkeypatch):
    """However many ids there are and however long they are: a bounded number of comparisons of bounded length."""
    compared = []
    monkeypatch.setattr(
        "difflib.get_close_matches", lambda word, others, n: compared.append((len(word), len(others))) or []
    )
    for number in range(1000):
        volfiles.publish(f"{'x' * 100}{number:03}", TEXT, f"{number}")
        volfiles.publish(f"{'y' * 250}{number:03}", TEXT, f"y{number}")
    for asked in ("x" * 103, "y" * 253):
        with pytest.raises(BadInput):
            ask(volfiles, asked)
    assert compared == [(103, 32)]


BAD_IDS = ["", "a\n", "a\0", "\x1b[31m", "a" * (ID_MAX + 1), "ä" * (ID_MAX // 2 + 1), "a\ud800"]


@pytest.mark.parametrize("volfile_id", BAD_IDS, ids=range(len(BAD_IDS)))
def test_a_bad_id_is_refused_where_it_is_published_and_where_it_is_asked_for(volfiles, volfile_id):
    with pytest.raises(BadInput):
        volfiles.publish(volfile_id, TEXT, "x")
    with pytest.raises(BadInput):
        volfiles.serve(VolfileRequest(volfile_id), ME)
    assert volfiles.facts().asks == []
    assert volfiles.facts().refused == 1


def test_the_longest_id_is_served(volfiles):
    volfiles.publish("a" * ID_MAX, TEXT, "x")
    assert ask(volfiles, "a" * ID_MAX).text == TEXT


@pytest.mark.parametrize("text", ["a" * (TEXT_MAX + 1), "ä" * (TEXT_MAX // 2 + 1), "option x \ud800"])
def test_a_bad_text_is_refused_and_the_old_one_stays(volfiles, text):
    volfiles.publish("a", TEXT, "x")
    with pytest.raises(BadVolfile):
        volfiles.publish("a", text, "x")
    assert ask(volfiles, "a").text == TEXT


def test_who_asked_is_counted(volfiles, clock):
    volfiles.publish("a", "ä", "x")
    volfiles.publish("b", "bb", "y")
    ask(volfiles, "a")
    clock.now += 5
    ask(volfiles, "a", Peer(88, 0, 0))
    for _ in range(3):
        with pytest.raises(BadInput):
            ask(volfiles, "nobody's")
    facts = volfiles.facts()
    assert (facts.served, facts.refused, facts.bytes) == (2, 3, 4)
    first, second = facts.asks
    assert (first.id, first.count, first.last_at) == ("a", 2, clock.now)
    assert (first.last_pid, first.last_uid, first.bytes) == (88, 0, 2)
    assert (second.id, second.count, second.last_at, second.bytes) == ("b", 0, None, 2)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y"]), st.one_of(st.none(), st.text(max_size=5))))
)
def test_it_serves_what_a_plain_dict_would(steps):
    """The model is a dict of id to (owner, text); None as text withdraws the owner."""
    volfiles, model = Volfiles(StillClock()), {}
    for volfile_id, owner, text in steps:
        if text is None:
            volfiles.withdraw(owner)
            model = {key: value for key, value in model.items() if value[0] != owner}
        elif model.get(volfile_id, (owner,))[0] == owner:
            volfiles.publish(volfile_id, text, owner)
            model[volfile_id] = owner, text
        else:
            with pytest.raises(AlreadyExists):
                volfiles.publish(volfile_id, text, owner)
    assert [one.id for one in volfiles.facts().asks] == sorted(model)
    assert {key: ask(volfiles, key).text for key in model} == {key: text for key, (_, text) in model.items()}


# --- over a true socket ------------------------------------------------------------------------------------


def server(volfiles: Volfiles, path) -> Server:
    verb = Verb(lambda request, ctx: volfiles.serve(request, ctx.peer), Access.READ, VolfileRequest)
    return Server(ServerSpec(f"unix:{path}"), {"volfile": verb}, clock=SystemClock())


def test_daemons_get_it_over_a_socket(volfiles, tmp_path):
    volfiles.publish("a", "x" * TEXT_MAX, "x")
    path = tmp_path / "s"

    def fetch():
        with BlockingClient(str(path)) as client:
            reply = client.call("volfile", VolfileRequest("a"), type=VolfileReply)
            with pytest.raises(BadInput) as caught:
                client.call("volfile", VolfileRequest("ab"), type=VolfileReply)
            return reply, caught.value

    async def main():
        async with server(volfiles, path):
            return await asyncio.to_thread(fetch)

    reply, error = asyncio.run(main())
    assert len(reply.text) == TEXT_MAX
    assert error.details["near"] == ["a"]


def test_a_change_while_daemons_ask_shows_old_or_new_and_never_a_mixture(volfiles, tmp_path):
    texts = {volfiles.publish("a", str(number) * 50_000, "x"): str(number) * 50_000 for number in range(2)}

    async def main():
        up = asyncio.Event()
        async with server(volfiles, tmp_path / "s"):
            spec = ConnSpec(f"unix:{tmp_path / 's'}")
            connection = Connection(
                spec,
                clock=SystemClock(),
                rng=random.Random(1),
                notify=lambda event: up.set() if isinstance(event, Connected) else None,
            )
            connection.connect(1)
            async with asyncio.timeout(20):
                await up.wait()
                replies = []
                for number in range(20):
                    calls = [
                        asyncio.create_task(connection.call("volfile", VolfileRequest("a"), type=VolfileReply))
                        for _ in range(5)
                    ]
                    await asyncio.sleep(0)
                    volfiles.publish("a", str(number % 2) * 50_000, "x")
                    replies += await asyncio.gather(*calls)
            await connection.term()
        return replies

    replies = asyncio.run(main())
    assert len(replies) == 100
    assert {reply.checksum for reply in replies} == set(texts)
    assert all(texts[reply.checksum] == reply.text for reply in replies)
