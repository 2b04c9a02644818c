"""Which keys a node type's configuration has.

Theory of operation. A text says what differs from the defaults; a *reading* has both what was written and what holds
with the defaults filled in. A text is accepted whole or refused whole, with all that is wrong with it, because an
operator who mends one fault at a time against a cluster makes one version for each. An unknown key is a fault, since it
is nearly always a known one with a typing error. A key is *hot* when a running node can take a new value, and *cold*
when it takes one only at its start; deepseek-ai/3FS has the same two (src/common/utils/ConfigBase.h), and refuses a
change as a whole when one cold key in it changes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.config.document import FAULTS_MAX, Document, Fault, read, refusal
from svcmgr.services.mgmtd.config.kinds import INT_MAX, INT_MIN, Kind, Value
from svcmgr.services.mgmtd.config.places import Place

Values = Mapping[str, Value]


@attrs.frozen
class Key:
    """One key: its dotted ``name``, its kind, the canonical value when it is not written, and what it is for."""

    name: str
    kind: Kind
    default: Value
    help: str
    hot: bool = True


@attrs.frozen
class Rule:
    """What must hold between several keys: ``holds`` of all values, or else ``reason``, blamed on the first key."""

    keys: tuple[str, ...]
    holds: Callable[[Values], bool]
    reason: str


@attrs.frozen
class Reading:
    """A text that was accepted: canonical values of what it ``written``, and of all keys."""

    written: Values
    values: Values


@attrs.frozen
class Schema:
    """All keys of one node type. Raises BadInput when it contradicts itself."""

    node_type: str
    keys: tuple[Key, ...]
    rules: tuple[Rule, ...] = ()
    _by_name: Mapping[str, Key] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        by_name = {key.name: key for key in self.keys}
        if len(by_name) < len(self.keys):
            raise BadInput(f"cannot make the schema of {self.node_type}: a key is there twice")
        object.__setattr__(self, "_by_name", MappingProxyType(by_name))
        for key in self.keys:
            self._check_key(key)
        if faults := self._broken(self.defaults(), {}):
            raise BadInput(f"cannot make the schema of {self.node_type}: the defaults are refused: {faults[0]}")

    def _check_key(self, key: Key) -> None:
        try:
            canonical = key.kind.read(list(key.default) if isinstance(key.default, tuple) else key.default)
        except ValueError:
            canonical = None
        if canonical != key.default or type(canonical) is not type(key.default):
            raise BadInput(f"cannot make the schema of {self.node_type}: {key.name} has a default that is not allowed")
        parts = key.name.split(".")
        above = next((name for n in range(1, len(parts)) if (name := ".".join(parts[:n])) in self._by_name), None)
        if above:
            raise BadInput(f"cannot make the schema of {self.node_type}: {above} is a key and a table")

    def key(self, name: str) -> Key | None:
        """The key of that name, or None."""
        return self._by_name.get(name)

    def defaults(self) -> Values:
        """What holds when nothing is written."""
        return {key.name: key.default for key in self.keys}

    def read(self, text: str) -> Reading:
        """``text``, which has no template tags any more, read and checked.

        Raises:
            InvalidConfig: with line, column and key of the first fault, and all faults in ``details``.
        """
        document = read(text)
        written: dict[str, Value] = {}
        faults: list[Fault] = []
        for name, raw in document.values.items():
            found = self._value(name, raw, document)
            if len(faults) == FAULTS_MAX:
                break
            if isinstance(found, Fault):
                faults.append(found)
            else:
                written[name] = found
        faults += self._empty_tables(document)
        values = {**self.defaults(), **written}
        faults += self._broken(values, document.places)
        if faults:
            raise refusal(f"the configuration of {self.node_type}", sorted(faults, key=lambda f: (f.line, f.column)))
        return Reading(written, values)

    def _value(self, name: str, raw: object, document: Document) -> Value | Fault:
        key = self._by_name.get(name)
        if key is None:
            return self._fault(name, self._unknown(name), document.places)
        try:
            return key.kind.read(raw)
        except ValueError:
            return self._fault(name, f"{_shown(raw)} is not allowed; give {key.kind.allowed()}", document.places)

    def _unknown(self, name: str) -> str:
        if any(known.startswith(f"{name}.") for known in self._by_name):
            return "it is a table, not a value; put its keys below it"
        near = difflib.get_close_matches(name[:200], self._by_name, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"{self.node_type} has {len(self.keys)} other keys"
        return f"there is no such key; {hint}"

    def _empty_tables(self, document: Document) -> list[Fault]:
        """Tables that hold nothing and belong to nothing are typing errors too."""
        known = {name.rsplit(".", n)[0] for name in self._by_name for n in range(1, name.count(".") + 1)}
        used = {name.rsplit(".", n)[0] for name in document.values for n in range(name.count(".") + 1)}
        return [
            self._fault(name, self._unknown(name), document.places)
            for name in document.places
            if name not in known and name not in used
        ]

    def _broken(self, values: Values, places: Mapping[str, Place]) -> list[Fault]:
        broken = [rule for rule in self.rules if not rule.holds(values)]
        return [
            self._fault(next((key for key in rule.keys if key in places), rule.keys[0]), rule.reason, places)
            for rule in broken
        ]

    @staticmethod
    def _fault(name: str, reason: str, places: Mapping[str, Place]) -> Fault:
        place = places.get(name)
        line, column = (place.line, place.column) if place else (0, 0)
        return Fault(reason, name[:200], line, column)


def _shown(raw: object) -> str:
    if isinstance(raw, list):
        return f"a list of {len(raw)}"
    if isinstance(raw, int) and not INT_MIN <= raw <= INT_MAX:
        return "a number of more than 64 bits"
    text = str(raw).lower() if isinstance(raw, bool) else repr(raw) if isinstance(raw, str) else str(raw)
    return text if len(text) <= 60 else f"{text[:60]}..."
