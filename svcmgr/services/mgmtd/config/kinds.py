"""What a value of a configuration may be.

Theory of operation. A kind turns what TOML has into one canonical Python value: two texts that mean the same give
equal values, so that differences are differences of meaning. A duration is seconds, whether it was written ``"1m"``,
``"60s"`` or ``60``; a size is bytes. Values are bool, int, float, str, or a tuple of such.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar, Protocol

import attrs

Value = bool | int | float | str | tuple["Value", ...]

#: TOML promises 64 bits (TOML v1.0.0, "Integer"); Python would take more.
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
TEXT_MAX = 4096
LIST_MAX = 1000

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) *(us|ms|s|min|m|h|d)\Z", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d{1,15}) *(B|KiB|MiB|GiB|TiB)\Z", re.ASCII)
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Kind(Protocol):
    """What every kind can."""

    @property
    def name(self) -> str:
        """What it is called in documents, for example ``duration``."""
        ...

    @property
    def unit(self) -> str:
        """What the number counts; "" where there is none."""
        ...

    def allowed(self) -> str:
        """What may be written, as it ends a message: ``true or false``."""
        ...

    def read(self, raw: Any) -> Value:
        """The canonical value. Raises ValueError; the message is of no use, :meth:`allowed` says it."""
        ...

    def show(self, value: Value) -> str:
        """A canonical value as it is written in TOML."""
        ...


@attrs.frozen
class Bool:
    name: ClassVar[str] = "bool"
    unit: ClassVar[str] = ""

    def allowed(self) -> str:
        return "true or false"

    def read(self, raw: Any) -> Value:
        return bool(_of(bool, raw))

    def show(self, value: Value) -> str:
        return "true" if value else "false"


@attrs.frozen
class Integer:
    """A whole number from ``least`` to ``most``."""

    least: int = 0
    most: int = INT_MAX
    unit: str = ""
    name: ClassVar[str] = "integer"

    def allowed(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, raw: Any) -> Value:
        return _between(int(_of(int, raw)), self.least, self.most)

    def show(self, value: Value) -> str:
        return str(value)


@attrs.frozen
class Number:
    """A finite number from ``least`` to ``most``."""

    least: float = 0.0
    most: float = 1e308
    unit: str = ""
    name: ClassVar[str] = "number"

    def allowed(self) -> str:
        return f"a number from {self.least:g} to {self.most:g}"

    def read(self, raw: Any) -> Value:
        return _between(_finite(raw), self.least, self.most)

    def show(self, value: Value) -> str:
        return repr(value)


@attrs.frozen
class Text:
    """Text of at most ``longest`` characters, none of them a control character; the whole matches ``pattern``."""

    longest: int = TEXT_MAX
    pattern: str = ""
    form: str = ""
    unit: ClassVar[str] = ""
    name: ClassVar[str] = "text"

    def allowed(self) -> str:
        return self.form or f"text of at most {self.longest} characters on one line"

    def read(self, raw: Any) -> Value:
        text = str(_of(str, raw))
        if len(text) > self.longest or not (text.isprintable() or text == ""):
            raise ValueError
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise ValueError
        return text

    def show(self, value: Value) -> str:
        return quoted(str(value))


@attrs.frozen
class Choice:
    """One of some words."""

    words: tuple[str, ...]
    unit: ClassVar[str] = ""
    name: ClassVar[str] = "choice"

    def allowed(self) -> str:
        return f"one of {', '.join(map(quoted, self.words))}"

    def read(self, raw: Any) -> Value:
        if _of(str, raw) not in self.words:
            raise ValueError
        return str(raw)

    def show(self, value: Value) -> str:
        return quoted(str(value))


@attrs.frozen
class Duration:
    """Seconds from ``least`` to ``most``, as a number or as text with a unit: us, ms, s, m or min, h, d."""

    least: float = 0.0
    most: float = 366 * 86400.0
    unit: ClassVar[str] = "s"
    name: ClassVar[str] = "duration"

    def allowed(self) -> str:
        return f'a duration from {self.show(self.least)} to {self.show(self.most)}, such as "90s", "2min" or "1h"'

    def read(self, raw: Any) -> Value:
        if isinstance(raw, str):
            found = _DURATION.match(raw)
            if not found:
                raise ValueError
            return _between(round(float(found[1]) * _SECONDS[found[2]], 9), self.least, self.most)
        return _between(_finite(raw), self.least, self.most)

    def show(self, value: Value) -> str:
        seconds = _finite(value)
        whole = ((name, seconds / _SECONDS[name]) for name in ("d", "h", "min", "s"))
        text = next((f"{count:.0f}{name}" for name, count in whole if count >= 1 and count == int(count)), "")
        return quoted(text or f"{seconds:.9f}".rstrip("0").rstrip(".") + "s")


@attrs.frozen
class Size:
    """Bytes from ``least`` to ``most``, as a number or as text with a unit: B, KiB, MiB, GiB, TiB."""

    least: int = 0
    most: int = 2**60
    unit: ClassVar[str] = "bytes"
    name: ClassVar[str] = "size"

    def allowed(self) -> str:
        return f'a size from {self.show(self.least)} to {self.show(self.most)}, such as "64KiB" or "2GiB"'

    def read(self, raw: Any) -> Value:
        if isinstance(raw, str):
            found = _SIZE.match(raw)
            if not found:
                raise ValueError
            return _between(int(found[1]) * _BYTES[found[2]], self.least, self.most)
        return _between(int(_of(int, raw)), self.least, self.most)

    def show(self, value: Value) -> str:
        size = int(_finite(value))
        fitting = (name for name in ("TiB", "GiB", "MiB", "KiB") if size and size % _BYTES[name] == 0)
        name = next(fitting, "B")
        return quoted(f"{size // _BYTES[name]}{name}")


@attrs.frozen
class Listing:
    """At most ``most`` values of one kind, in order."""

    of: Kind
    most: int = LIST_MAX
    name: ClassVar[str] = "list"

    @property
    def unit(self) -> str:
        return self.of.unit

    def allowed(self) -> str:
        return f"a list of at most {self.most}, each {self.of.allowed()}"

    def read(self, raw: Any) -> Value:
        if not isinstance(raw, list | tuple) or len(raw) > self.most:
            raise ValueError
        return tuple(self.of.read(each) for each in raw)

    def show(self, value: Value) -> str:
        return f"[{', '.join(self.of.show(each) for each in value)}]" if isinstance(value, tuple) else ""


def quoted(text: str) -> str:
    """``text`` as a basic string of TOML. It has no control character."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _of(wanted: type, raw: Any) -> Any:
    """``raw`` itself if it is of exactly that type: a bool is no int here."""
    if type(raw) is not wanted:
        raise ValueError
    return raw


def _finite(raw: Any) -> float:
    if type(raw) is int:
        return float(_between(raw, INT_MIN, INT_MAX))
    if type(raw) is not float or not math.isfinite(raw):
        raise ValueError
    return raw


def _between(value: int | float, least: float, most: float) -> int | float:
    if not least <= value <= most:
        raise ValueError
    return value
