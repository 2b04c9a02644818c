"""The messages of the kernel, byte by byte; that they are right is what the true mounts show."""

from __future__ import annotations

import errno
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.services.snapd.view import protocol
from svcmgr.services.snapd.view.protocol import Request

WANTS_ALL = 0xFFFFFFFF


def message(opcode: int, body: bytes, extension: int = 0) -> memoryview:
    return memoryview(struct.pack("=IIQQIIIHH", 40 + len(body), opcode, 77, 5, 1000, 100, 4321, extension, 0) + body)


def init(major: int = 7, minor: int = 45, flags: int = WANTS_ALL, more: int = WANTS_ALL) -> bytes:
    return struct.pack("=IIIII44x", major, minor, 131072, flags, more)


def test_a_request_is_its_header_and_its_body():
    request = Request.parse(message(protocol.LOOKUP, b"name\xff\0"))
    assert (request.opcode, request.unique, request.inode, request.uid) == (protocol.LOOKUP, 77, 5, 1000)
    assert request.name == b"name\xff"


def test_extensions_are_not_of_the_body():
    assert Request.parse(
        message(protocol.LOOKUP, b"name\0" + bytes(3) + bytes(16), extension=2)
    ).body == b"name" + bytes(4)


@given(st.binary(max_size=39))
def test_what_is_too_short_is_refused(data):
    with pytest.raises(struct.error):
        Request.parse(memoryview(data))


def test_forgetting_one_and_many():
    assert Request.parse(message(protocol.FORGET, struct.pack("=Q", 3))).forgotten == [(5, 3)]
    many = struct.pack("=IIQQQQ", 2, 0, 8, 1, 9, 2)
    assert Request.parse(message(protocol.BATCH_FORGET, many)).forgotten == [(8, 1), (9, 2)]


def test_the_terms():
    terms = protocol.agree(init(), 1 << 20, passthrough=True)
    assert terms.acl
    assert terms.passthrough
    assert len(terms.answer) == 64
    assert struct.unpack_from("=III", terms.answer) == (7, protocol.MINOR, 131072)
    assert struct.unpack_from("=I", terms.answer, 36) == (1,)  # the depth


@pytest.mark.parametrize(
    ("body", "allowed"),
    [(init(), False), (init(more=0), True), (init()[:16], True), (init(flags=WANTS_ALL & ~(1 << 30)), True)],
)
def test_without_passthrough_no_depth_is_claimed(body, allowed):
    terms = protocol.agree(body, 1 << 20, passthrough=allowed)
    assert not terms.passthrough
    assert struct.unpack_from("=I", terms.answer, 36) == (0,)


def test_nothing_is_wanted_that_was_not_offered():
    terms = protocol.agree(init(flags=0, more=0), 4096, passthrough=True)
    assert struct.unpack_from("=II", terms.answer, 8) == (4096, 0)
    assert not terms.acl


def test_another_major_version_is_not_spoken():
    assert protocol.agree(init(major=8), 4096, passthrough=True) is None


@pytest.mark.parametrize(("major", "minor"), [(0, 0), (1, 3), (259, 70000), (4095, 255), (8, 1048575)])
def test_devices_are_the_kernels(major, minor):
    number = protocol._device(os.makedev(major, minor))
    assert (number & 0xFFF00) >> 8 == major
    assert (number & 0xFF) | (number >> 12 & 0xFFF00) == minor


def test_times_before_the_epoch(tmp_path):
    path = tmp_path / "old"
    path.touch()
    os.utime(path, ns=(-1, -1_500_000_000))
    fields = struct.unpack("=QQQqqqIIIIIIIIII", protocol.attr(3, path.stat()))
    assert fields[3:5] == (-1, -2)
    assert fields[6:8] == (999_999_999, 500_000_000)


@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name))
def test_a_listed_name_has_the_size_that_was_said_and_ends_on_a_boundary(name):
    entry = protocol.entry(9, os.stat("/"), 1.0)
    one = protocol.listed(name, 77, entry, 9, 0o040755)
    assert len(one) == protocol.listed_size(name)
    assert len(one) % 8 == 0
    assert one[152 : 152 + len(name)] == name


def test_a_value_fits_or_its_size_is_said():
    assert protocol.fitted(b"value", 0) == struct.pack("=II", 5, 0)
    assert protocol.fitted(b"value", 5) == b"value"
    with pytest.raises(OSError) as refusal:
        protocol.fitted(b"value", 4)
    assert refusal.value.errno == errno.ERANGE
