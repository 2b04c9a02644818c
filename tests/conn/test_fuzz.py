"""Well-formed nonsense: any frames in any order, at a server and at a client, never reach the loop as an exception."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr import PROTOCOL
from svcmgr.conn import frame as wire
from svcmgr.conn.frame import encode
from svcmgr.conn.session import State
from svcmgr.conn.transport import Address, Link, LinkOptions
from tests.conn.rig import VERBS, rig
from tests.conn.test_frame import FRAMES, VALUES
from tests.kit.conformance import Recorder
from tests.kit.vloop import run, turns

HELLOS = st.builds(wire.Hello, st.just(PROTOCOL), st.text(max_size=9), st.just(0), st.sampled_from([1024, 2**24]))
#: Long enough names to make error texts overflow the smallest frame.
CALLS = st.builds(
    wire.Call, st.integers(1, 5), st.sampled_from([*VERBS, "\U0001f600" * 255]), VALUES, st.sampled_from([0, 1, 100])
)
PIECES = st.one_of(HELLOS.map(encode), CALLS.map(encode), FRAMES.map(encode), st.binary(max_size=20))


@given(st.one_of(HELLOS.map(encode), PIECES), st.lists(PIECES, max_size=12), st.booleans())
@settings(max_examples=120, deadline=None)
def test_a_server_outlives_any_client(first: bytes, rest: list[bytes], in_one_piece: bool) -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve(max_in_flight=2)
            client = Recorder()
            await r.network.dial(Address.parse("mem:d"), client, LinkOptions())
            for data in [b"".join([first, *rest])] if in_one_piece else [first, *rest]:
                client.opened_link.send(data)
            await asyncio.sleep(0.01)
            good = await r.up()
            assert await good.call("echo") == "nothing"
            client.opened_link.abort()
            await turns(20)
            assert server.statistics()["connections"] == 1
            assert server.statistics()["in_flight"] == 0

    run(history())


@given(st.one_of(HELLOS.map(encode), PIECES), st.lists(PIECES, max_size=12), st.booleans())
@settings(max_examples=120, deadline=None)
def test_a_client_outlives_any_server(first: bytes, rest: list[bytes], in_one_piece: bool) -> None:
    async def history() -> None:
        def nonsense(link: Link) -> None:
            for data in [b"".join([first, *rest])] if in_one_piece else [first, *rest]:
                link.send(data)

        async with rig() as r:
            address, options = Address.parse("mem:d"), LinkOptions()
            listener = await r.network.listen(address, lambda: Recorder(on_opened=nonsense), options)
            connection = r.connection(keepalive=0.02, hung_after=0.05)
            connection.connect(1)
            calls = []
            for _ in range(5):
                await asyncio.sleep(0.01)
                if connection.state is State.UP:
                    calls.append(asyncio.ensure_future(connection.call("v", timeout=0.05)))
            await asyncio.gather(*calls, return_exceptions=True)
            listener.close()
            r.network.cut("d")
            await r.serve()
            connection.connect(2)
            await asyncio.sleep(1)
            assert await connection.call("echo") == "nothing"

    run(history())
