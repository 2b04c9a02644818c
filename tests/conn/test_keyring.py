"""Keyrings: what is one, what is not, and their files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.conn import keyring as kr
from svcmgr.conn.access import Access
from svcmgr.conn.keyfile import load, save
from svcmgr.conn.keyring import Holder, Keyring, parse, read_key, render, write_key
from svcmgr.errors import AlreadyExists, BadInput, NotPermitted

# The example of RFC 32: these bytes are this text.
RFC_BYTES = bytes([0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B])
RFC_TEXT = "HelloWorld"

OWN = f'[own]\nname = "me"\npublic = "{write_key(bytes([1] * 32))}"\nsecret = "{write_key(bytes([2] * 32))}"\n'
KEY = write_key(bytes([3] * 32))

keys = st.binary(min_size=32, max_size=32)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
addresses = st.integers(0, 65535).map(lambda port: f"tcp://host:{port}")
holders = st.builds(
    Holder,
    names,
    st.lists(keys, min_size=1, max_size=4, unique=True).map(tuple),
    st.none() | st.sampled_from(Access),
    st.lists(addresses, max_size=3, unique=True).map(tuple),
)


@given(keys)
def test_keys_are_written_and_read_alike(key: bytes) -> None:
    assert len(write_key(key)) == kr.KEY_TEXT
    assert read_key(write_key(key)) == key


def test_the_text_of_a_key_is_that_of_the_rfc() -> None:
    assert write_key(RFC_BYTES * 4) == RFC_TEXT * 4
    assert read_key(RFC_TEXT * 4) == RFC_BYTES * 4


@given(names, keys, keys, st.lists(holders, max_size=5, unique_by=lambda holder: holder.name))
def test_what_is_rendered_is_parsed_alike(name: str, public: bytes, secret: bytes, known: list[Holder]) -> None:
    try:
        ring = Keyring(name, public, secret, {holder.name: holder for holder in known})
    except BadInput:
        return  # two have the same key
    again = parse(render(ring))
    assert again == ring
    for holder in known:
        assert all(again.holder_of(key) == holder for key in holder.keys)
        assert all(set(holder.keys) <= set(again.keys_at(address)) for address in holder.addresses)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[own",
        "[own]\nname = 1\n",
        OWN.replace('name = "me"\n', ""),
        OWN.replace('"me"', '"../me"'),
        OWN + "extra = 1\n",
        OWN + "[other]\n",
        OWN + "[keys]\na = 1\n",
        OWN + "[keys.a]\n",
        OWN + '[keys.a]\npublic = ""\n',
        OWN + f'[keys.a]\npublic = "{KEY[:-1]}"\n',
        OWN + f'[keys.a]\npublic = "{KEY}0"\n',
        OWN + f'[keys.a]\npublic = "{KEY[:-1]}~"\n',
        OWN + f'[keys.a]\npublic = "{KEY[:-1]}é"\n',
        OWN + '[keys.a]\npublic = "' + "#" * 40 + '"\n',
        OWN + "[keys.a]\npublic = []\n",
        OWN + "[keys.a]\npublic = [" + ", ".join(f'"{write_key(bytes([9, n] * 16))}"' for n in range(5)) + "]\n",
        OWN + f'[keys.a]\npublic = "{KEY}"\nscope = "root"\n',
        OWN + f'[keys.a]\npublic = "{KEY}"\nscope = "ADMIN"\n',
        OWN + f'[keys.a]\npublic = "{KEY}"\nscopes = "admin"\n',
        OWN + f'[keys.a]\npublic = "{KEY}"\naddresses = ["unix:/x"]\n',
        OWN + f'[keys.a]\npublic = "{KEY}"\naddresses = ["host:1"]\n',
        OWN + f'[keys.a]\npublic = "{KEY}"\naddresses = {["tcp://h:1"] * 17}\n',
        OWN + f'[keys.a]\npublic = "{KEY}"\n[keys.b]\npublic = "{KEY}"\n',
        OWN + f'[keys."a b"]\npublic = "{KEY}"\n',
        OWN + f'[keys."{"a" * 101}"]\npublic = "{KEY}"\n',
        "a = " + "[" * 5000,
    ],
)
def test_what_is_no_keyring_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert write_key(bytes([2] * 32)) not in str(caught.value)


def test_the_secret_is_in_no_text_of_a_keyring() -> None:
    ring = parse(OWN)
    assert repr(ring.secret) not in repr(ring)
    assert "secret" not in repr(ring)


@given(st.text(max_size=60))
def test_no_text_is_a_surprise(text: str) -> None:
    with pytest.raises(BadInput):
        parse(text)


def test_holders_are_added_removed_and_rotated() -> None:
    one, two, three = bytes([1] * 32), bytes([2] * 32), bytes([3] * 32)
    ring = Keyring("me", one, two).adding(Holder("a", (one,), Access.NODE))
    with pytest.raises(AlreadyExists):
        ring.adding(Holder("a", (two,)))
    with pytest.raises(BadInput):
        ring.adding(Holder("b", (one,)))
    both = ring.rotating("a", two, keep=True)
    assert both.holders["a"] == Holder("a", (two, one), Access.NODE)
    assert both.rotating("a", two, keep=False).holders["a"].keys == (two,)
    full = both
    for number in range(2):
        full = full.rotating("a", bytes([9, number] * 16), keep=True)
    with pytest.raises(BadInput):
        full.rotating("a", three, keep=True)
    assert both.removing("a").holder_of(one) is None
    for change in (lambda: ring.removing("b"), lambda: ring.rotating("b", two, keep=True)):
        with pytest.raises(BadInput):
            change()


def test_a_file_is_for_its_owner_alone_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    save(path, parse(OWN))
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(path) == parse(OWN)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ring"
    save(path, parse(OWN))
    path.chmod(mode)
    with pytest.raises(NotPermitted):
        load(path)


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    save(path, parse(OWN))
    os.chown(path, 12345, 12345)
    with pytest.raises(NotPermitted):
        load(path)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "socket", "large", "binary", "loop"])
def test_what_is_no_file_of_ours_is_a_typed_error(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ring"
    if kind == "directory":
        path.mkdir(0o700)
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            monkeypatch.chdir(tmp_path)
            sock.bind("ring")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind != "missing":
        path.touch(0o600)
        path.write_bytes(b"#" * (kr.KEYRING_MAX + 1) if kind == "large" else b"\xff")
    with pytest.raises(BadInput):
        load(path)
