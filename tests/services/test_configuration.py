"""When a configuration is applied, and when the one in force stays."""

import asyncio

import pytest

from svcmgr.errors import BadInput, ConnectionFault, ReconfigureFailed
from svcmgr.services.daemonkit.configuration import Configuration, Volfile
from tests.kit.vloop import VirtualClock, run

ONE = Volfile("x", "one", "c1")
TWO = Volfile("x", "two", "c2")


class Bench:
    """A server that answers ``now`` and a daemon that notes what it is given."""

    def __init__(self, now):
        self.now = now
        self.applied = []
        self.refusal = None
        self.configuration = Configuration(self.fetch, self.apply, VirtualClock())

    async def fetch(self):
        await asyncio.sleep(1)
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    async def apply(self, volfile):
        await asyncio.sleep(1)
        if self.refusal:
            raise self.refusal
        self.applied.append(volfile)


def test_the_same_checksum_is_not_applied_again():
    async def main():
        bench = Bench(ONE)
        assert (await bench.configuration.reconfigure()).result == "configured"
        facts = await bench.configuration.reconfigure()
        assert (facts.result, facts.count, facts.checksum) == ("unchanged", 1, "c1")
        bench.now = TWO
        facts = await bench.configuration.reconfigure()
        assert (facts.result, facts.count, facts.checksum) == ("configured", 2, "c2")
        assert bench.applied == [ONE, TWO]

    run(main())


def test_without_a_volfile_every_request_reaches_the_daemon():
    async def main():
        bench = Bench(None)
        await bench.configuration.reconfigure()
        assert (await bench.configuration.reconfigure()).count == 2
        assert bench.applied == [None, None]

    run(main())


@pytest.mark.parametrize("refusal", [BadInput("cannot read line 3"), KeyError("zone")])
def test_a_refused_volfile_leaves_the_one_in_force_and_is_tried_again(refusal):
    async def main():
        bench = Bench(ONE)
        before = await bench.configuration.reconfigure()
        bench.now, bench.refusal = TWO, refusal
        with pytest.raises(ReconfigureFailed):
            await bench.configuration.reconfigure()
        facts = bench.configuration.facts
        assert (facts.result, facts.checksum, facts.at, facts.count) == ("failed", "c1", before.at, 1)
        assert facts.error
        bench.refusal = None
        facts = await bench.configuration.reconfigure()
        assert (facts.result, facts.checksum, facts.error) == ("configured", "c2", "")

    run(main())


def test_a_server_that_is_away_leaves_the_one_in_force():
    async def main():
        bench = Bench(ONE)
        await bench.configuration.reconfigure()
        bench.now = ConnectionFault("cannot reach it")
        with pytest.raises(ReconfigureFailed) as caught:
            await bench.configuration.reconfigure()
        assert caught.value.details["cause"] == "connection"
        assert bench.configuration.facts.checksum == "c1"

    run(main())


def test_two_requests_do_not_overlap():
    async def main():
        bench = Bench(ONE)
        both = await asyncio.gather(bench.configuration.reconfigure(), bench.configuration.reconfigure())
        assert [facts.result for facts in both] == ["configured", "unchanged"]

    run(main())


def test_a_cancelled_request_frees_the_way():
    async def main():
        bench = Bench(ONE)
        task = asyncio.ensure_future(bench.configuration.reconfigure())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await bench.configuration.reconfigure()).result == "configured"

    run(main())
