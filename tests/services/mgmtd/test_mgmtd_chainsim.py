"""A chain under faults, simulated with seeds; the long run is ``python -m tests.kit.chainsim 1000``."""

from __future__ import annotations

import pytest

from tests.kit.chainsim import simulate


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [1, 2, 3])
def test_E01_no_acknowledged_write_is_lost_and_all_serve_in_the_end(length, seed):
    sim = simulate(length, seed, ticks=6000)
    assert sim.committed > 20
    assert sim.manager.chain.version > 5


def test_E01_a_seed_replays():
    one, other = (simulate(2, 7, ticks=3000) for _ in range(2))
    assert (one.committed, one.manager.chain) == (other.committed, other.manager.chain)
