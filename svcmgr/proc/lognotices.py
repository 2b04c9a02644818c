"""Which logs grew, vanished or came into being, by key, from one inotify descriptor.

A live file has a one-shot watch: its first write gives one event, the next million give none until it is armed
again. A log that is not there yet is expected in its directory, whose watch lives only as long as something is
expected there.
"""

from __future__ import annotations

from pathlib import Path

from svcmgr.proc.inotify import CREATE, MODIFY, MOVE_SELF, MOVED_TO, ONESHOT, ONLYDIR, Inotify

_FILE = MODIFY | MOVE_SELF | ONESHOT
_DIRECTORY = CREATE | MOVED_TO | ONLYDIR


class LogNotices:
    """Watches by key. Raises OSError as inotify_init1(2) does."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._armed: dict[int, set[str]] = {}
        self._expected: dict[int, dict[str, set[str]]] = {}
        self._watch_of: dict[str, int] = {}

    def fileno(self) -> int:
        """Readable when :meth:`drain` has something to tell."""
        return self._inotify.fileno()

    def close(self) -> None:
        """Close; idempotent."""
        self._inotify.close()

    def arm(self, key: str, path: Path) -> None:
        """Tell once, at the next write. Raises OSError as inotify_add_watch(2) does."""
        self.forget(key)
        watch = self._inotify.add(path, _FILE)
        self._armed.setdefault(watch, set()).add(key)
        self._watch_of[key] = watch

    def expect(self, key: str, path: Path) -> None:
        """Tell once, when ``path`` comes into being. Raises OSError: its directory cannot be watched."""
        self.forget(key)
        watch = self._inotify.add(path.parent, _DIRECTORY)
        self._expected.setdefault(watch, {}).setdefault(path.name, set()).add(key)
        self._watch_of[key] = watch

    def forget(self, key: str) -> None:
        """Tell nothing of this key any more; idempotent."""
        watch = self._watch_of.pop(key, None)
        if watch is None:
            return
        names = self._expected.get(watch, {})
        for keys in (self._armed.get(watch, set()), *names.values()):
            keys.discard(key)
        if not self._armed.get(watch) and not any(names.values()):
            self._armed.pop(watch, None)
            self._expected.pop(watch, None)
            self._inotify.remove(watch)

    def drain(self) -> tuple[set[str], bool]:
        """The keys to look at, and whether events were lost, which means: look at all."""
        told: set[str] = set()
        lost = False
        for watch, _, name in self._inotify.drain():
            if watch < 0:
                lost = True
            elif watch in self._armed:
                # The event, or word that the kernel dropped the watch because the file is gone.
                told |= self._armed.pop(watch)
            else:
                told |= self._expected.get(watch, {}).get(name, set())
        for key in told:
            self.forget(key)
        return told, lost
