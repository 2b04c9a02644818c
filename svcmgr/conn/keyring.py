"""Who may come over the network, and who we are: a keyring file, read and written as text.

Theory of operation. A key pair is an identity. The own pair is in ``[own]``; everybody whom we know is a *holder*
with a name of our choosing, in ``[keys.NAME]``::

    [own]
    name = "host-1"
    public = "..."           # 40 characters of Z85 (https://rfc.zeromq.org/spec/32/)
    secret = "..."

    [keys.host-2]
    public = "..."           # or a list, for as long as a key is being replaced
    scope = "node"           # read, node or admin: what it may do here; left out: it may not connect
    addresses = ["tcp://host-2:7711"]    # where it serves, for those who connect to it

A public key belongs to one holder, so that a key says who it is. What is not exactly this is refused as a whole: a
wrong key that is skipped is a key that nobody misses until it is needed. The file is trusted as far as its owner and
mode are (keyfile.py); still, its numbers and sizes have limits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import msgspec

from svcmgr.conn.access import Access
from svcmgr.conn.transport import Address
from svcmgr.errors import AlreadyExists, BadInput
from svcmgr.paths import check_name

#: Bytes of the largest keyring, about 50,000 holders.
KEYRING_MAX = 8 * 1024 * 1024
#: Keys of one holder, and addresses.
KEYS_MAX = 4
ADDRESSES_MAX = 16
#: Bytes of a Curve25519 key, and characters of it in Z85.
KEY_SIZE = 32
KEY_TEXT = 40

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_DIGITS = {character: number for number, character in enumerate(_Z85)}
_SCOPES = {access.name.lower(): access for access in Access}


@attrs.frozen
class Holder:
    """Somebody whom we know. ``scope`` None: may be connected to, and may not connect."""

    name: str
    keys: tuple[bytes, ...]
    scope: Access | None = None
    addresses: tuple[str, ...] = ()


@attrs.frozen
class Keyring:
    """A keyring that was checked. The secret is in no text of it."""

    name: str
    public: bytes
    secret: bytes = attrs.field(repr=False)
    holders: Mapping[str, Holder] = attrs.field(factory=dict)
    _by_key: dict[bytes, Holder] = attrs.field(init=False, repr=False, eq=False)
    _by_address: dict[str, list[bytes]] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        by_key: dict[bytes, Holder] = {}
        by_address: dict[str, list[bytes]] = {}
        for holder in self.holders.values():
            for key in holder.keys:
                other = by_key.setdefault(key, holder)
                if other is not holder:
                    raise BadInput(f"cannot use the keyring: {other.name!r} and {holder.name!r} have the same key")
            for address in holder.addresses:
                by_address.setdefault(address, []).extend(holder.keys)
        object.__setattr__(self, "_by_key", by_key)
        object.__setattr__(self, "_by_address", by_address)

    def holder_of(self, key: bytes) -> Holder | None:
        """Whose key that is."""
        return self._by_key.get(key)

    def keys_at(self, address: str) -> tuple[bytes, ...]:
        """The keys that who serves at ``address`` may have."""
        return tuple(self._by_address.get(address, ()))

    def adding(self, holder: Holder) -> Keyring:
        """With one more. Raises AlreadyExists: there is one of that name; BadInput: its key is another's."""
        if holder.name in self.holders:
            raise AlreadyExists(f"cannot add key {holder.name!r}: there is one of that name; remove it first")
        return attrs.evolve(self, holders={**self.holders, holder.name: holder})

    def removing(self, name: str) -> Keyring:
        """Without that one. Raises BadInput: there is none of that name."""
        self._require(name)
        return attrs.evolve(self, holders={key: value for key, value in self.holders.items() if key != name})

    def rotating(self, name: str, key: bytes, *, keep: bool) -> Keyring:
        """With a new key for a holder. ``keep``: the old ones are good still, until this is called without.

        Raises BadInput: no such holder, or it has KEYS_MAX keys; remove old ones by rotating without ``keep``.
        """
        old = self._require(name)
        keys = (key, *(one for one in old.keys if one != key)) if keep else (key,)
        if len(keys) > KEYS_MAX:
            raise BadInput(f"cannot add a key for {name!r}: it has {KEYS_MAX}, the limit")
        return attrs.evolve(self, holders={**self.holders, name: attrs.evolve(old, keys=keys)})

    def _require(self, name: str) -> Holder:
        if name not in self.holders:
            raise BadInput(f"cannot find key {name!r}: the keyring has none of that name", name=name)
        return self.holders[name]


class _Own(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    public: str
    secret: str


class _Key(msgspec.Struct, forbid_unknown_fields=True):
    public: str | list[str]
    scope: str | None = None
    addresses: list[str] = []


class _File(msgspec.Struct, forbid_unknown_fields=True):
    own: _Own
    keys: dict[str, _Key] = {}


def parse(text: str, where: str = "the keyring") -> Keyring:
    """The keyring written as ``text``; ``where`` is its name in messages.

    Raises:
        BadInput: not TOML, not the tables and keys above, a name, key, scope or address that is none, or one key for
            two holders. No message contains a secret.
    """
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"cannot read {where}: not TOML: {error}", path=where) from error
    except RecursionError as error:
        raise BadInput(f"cannot read {where}: nested too deep", path=where) from error
    except msgspec.ValidationError as error:
        raise BadInput(f"cannot read {where}: {error}", path=where) from error
    try:
        own = file.own
        return Keyring(
            check_name(own.name, "name of a key"),
            read_key(own.public, "own.public"),
            read_key(own.secret, "own.secret"),
            {name: _holder(name, key) for name, key in file.keys.items()},
        )
    except BadInput as error:
        raise BadInput(f"cannot read {where}: {error.message}", path=where) from error


def _holder(name: str, key: _Key) -> Holder:
    check_name(name, "name of a key")
    texts = [key.public] if isinstance(key.public, str) else key.public
    if not 1 <= len(texts) <= KEYS_MAX or len(key.addresses) > ADDRESSES_MAX:
        raise BadInput(f"cannot use keys.{name}: 1 to {KEYS_MAX} public keys and at most {ADDRESSES_MAX} addresses")
    if key.scope is not None and key.scope not in _SCOPES:
        raise BadInput(f"cannot use keys.{name}.scope {key.scope!r}: one of {', '.join(_SCOPES)}")
    for address in key.addresses:
        if Address.parse(address).scheme != "tcp":
            raise BadInput(f"cannot use keys.{name}.addresses {address!r}: keys are for tcp addresses")
    publics = tuple(dict.fromkeys(read_key(text, f"keys.{name}.public") for text in texts))
    return Holder(name, publics, _SCOPES[key.scope] if key.scope else None, tuple(key.addresses))


def render(keyring: Keyring) -> str:
    """The text of a keyring; :func:`parse` of it is equal."""
    own = {"name": keyring.name, "public": write_key(keyring.public), "secret": write_key(keyring.secret)}
    tables = [line for holder in keyring.holders.values() for line in _table(holder)]
    return "\n".join(["[own]", *_lines(own), *tables]) + "\n"


def _table(holder: Holder) -> Iterable[str]:
    fields: dict[str, Any] = {"public": [write_key(key) for key in holder.keys]}
    if holder.scope is not None:
        fields["scope"] = holder.scope.name.lower()
    if holder.addresses:
        fields["addresses"] = list(holder.addresses)
    return ["", f'[keys."{holder.name}"]', *_lines(fields)]


def _lines(fields: Mapping[str, Any]) -> list[str]:
    # JSON of ASCII text without control characters is TOML too; names, Z85 and addresses are that.
    return [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in fields.items()]


def read_key(text: str, what: str = "key") -> bytes:
    """A key from Z85 (https://rfc.zeromq.org/spec/32/). Raises BadInput, without the text: it may be a secret."""
    values = [_DIGITS.get(character, -1) for character in text[: KEY_TEXT + 1]]
    if len(text) != KEY_TEXT or min(values) < 0:
        raise BadInput(
            f"cannot use {what}: a key is {KEY_TEXT} characters of Z85, this is none ({len(text)} characters)"
        )
    words = []
    for start in range(0, KEY_TEXT, 5):
        word = 0
        for value in values[start : start + 5]:
            word = word * 85 + value
        words.append(word)
    if max(words) >= 2**32:
        raise BadInput(f"cannot use {what}: its characters are Z85, and it is no key")
    return b"".join(word.to_bytes(4, "big") for word in words)


def write_key(key: bytes) -> str:
    """A key of KEY_SIZE bytes as Z85."""
    text = ""
    for start in range(0, KEY_SIZE, 4):
        word = int.from_bytes(key[start : start + 4], "big")
        text += "".join(_Z85[word // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return text
