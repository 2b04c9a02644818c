"""ZeroMQ over tcp: the rules for all transports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from svcmgr.conn.transport import Address
from svcmgr.conn.zeromq import ZeroMQTransport
from tests.kit import conformance
from tests.kit.keyrings import Party, kept_port, tcp


@pytest.fixture(params=["127.0.0.1", "::1"])
def address(request: pytest.FixtureRequest) -> Iterator[Address]:
    with kept_port(request.param) as port:
        yield tcp(port, request.param)


@pytest.mark.parametrize("check", conformance.CHECKS)
def test_zeromq_conforms(check: object, address: Address, tmp_path: Path) -> None:
    keyring = Party(tmp_path).both(address)
    asyncio.run(check(ZeroMQTransport(keyring), address))  # type: ignore[operator]
