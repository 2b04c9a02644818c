"""Histories that people can read: commands of a file with the expected output below each, run on virtual time.

A scenario file holds blocks, separated by blank lines. A block is one or more commands, a line ``----``, and what
they print. Lines that begin with ``#`` are remarks. The expected output is not written by hand:
``python -m tests.kit.scenario --rewrite [FILE ...]`` runs the files and stores what came out; the difference is read in
review. Precedent for the form: the data-driven tests of etcd-io/raft.

Commands (NAME is a service; times in seconds):

    define NAME [exits=S] [code=N] [term=S|never] [unkillable] [fails=ERRNO] [KEY=VALUE ...]
        define it, not started; what the program does, then keys of the definition (requires=a,b ready=up:2 ...)
    becomes NAME [exits=S] ...      from the next start on its program does this
    start|stop|restart NAME ...     begin the command; its answer is printed when it is there
    exit NAME code=N | signal=N     the process ends by itself
    advance SECONDS                 time passes; what happens is printed with its time
    status [NAME ...]               goal, state, status and reason
    processes                       how many processes live, by service
    svcmgrd-ends | svcmgrd-begins   svcmgrd dies and leaves its processes; the next one adopts. The first one begins
                                    by itself.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from svcmgr.svc.events import Stamped
from tests.kit.fakeos import FakeOs, FakeProcess, Program
from tests.kit.life import Life
from tests.kit.vloop import START, UTC_AT_START, run, turns

DIRECTORY = Path(__file__).resolve().parents[1] / "scenarios"
_PROGRAM = {"exits", "code", "term", "unkillable", "fails"}
_LISTS = {"requires", "after"}


def program_of(words: dict[str, str]) -> Program:
    """What a program does, from the words of ``define`` and ``becomes``."""
    term = words.get("term", "0")
    return Program(
        exits_after=float(words["exits"]) if "exits" in words else None,
        code=int(words.get("code", "0")),
        term_s=None if term == "never" else float(term),
        unkillable="unkillable" in words,
        fails=int(words["fails"]) if "fails" in words else None,
    )


def value_of(key: str, text: str) -> Any:
    """A definition's value."""
    if key in _LISTS:
        return text.split(",")
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


class Stage:
    """One scenario being played."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._system = FakeOs()
        self._life: Life | None = None
        self._fresh = True
        self._pending: set[asyncio.Task[None]] = set()
        self._lines: list[str] = []

    async def play(self, line: str) -> list[str]:
        """Carry one command out; what it prints."""
        verb, *words = line.split()
        try:
            if self._fresh:
                await self._begins()
            printed = await self._act(verb, words)
        except Exception as error:
            printed = [f"refused: {error}"]
        await turns(20)
        happened, self._lines = self._lines, []
        return [*happened, *printed]

    async def _act(self, verb: str, words: list[str]) -> list[str]:
        settings = {key: value for key, _, value in (word.partition("=") for word in words[1:])}
        if verb in ("start", "stop", "restart"):
            await self._start_command(verb, words)
        elif verb == "define":
            table = {key: value_of(key, text) for key, text in settings.items() if key not in _PROGRAM}
            await self._living().add(words[0], program_of(settings), **table)
        elif verb == "becomes":
            self._system.programs[words[0]] = program_of(settings)
        elif verb == "exit":
            self._exit(words[0], settings)
        elif verb == "advance":
            await asyncio.sleep(float(words[0]))
        elif verb == "status":
            return self._status(words)
        elif verb == "processes":
            return self._processes()
        elif verb == "svcmgrd-ends":
            await self.close()
        elif verb == "svcmgrd-begins":
            await self._begins()
        else:
            raise ValueError(f"no such command {verb!r}")
        return []

    def _living(self) -> Life:
        if self._life is None:
            raise ValueError("no svcmgrd")
        return self._life

    async def _start_command(self, verb: str, names: list[str]) -> None:
        task = asyncio.create_task(self._command(self._living(), verb, names))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        # Until the disk has the intent: its thread takes real time, in which virtual time stands still.
        await turns(20)
        await self._living().store.commit({})
        await turns(20)

    async def _command(self, life: Life, verb: str, names: list[str]) -> None:
        for outcome in await getattr(life.commander, verb)(names, 600.0):
            text = f": {outcome.text}" if outcome.text else ""
            now = asyncio.get_running_loop().time() - START
            self._lines.append(f"{now:8.3f} {verb} {outcome.name} -> {outcome.result}{text}")

    def _saw(self, stamped: Stamped) -> None:
        if stamped.event.what != "definition-changed":  # the scenario's own words
            self._lines.append(f"{stamped.at - UTC_AT_START:8.3f} {stamped.event.line()}")

    def _exit(self, name: str, settings: dict[str, str]) -> None:
        (pid,) = [p.pid for p in self._started() if p.spec is not None and p.spec.name == name]
        if "signal" in settings:
            self._system.crash(pid, int(settings["signal"]))
        else:
            self._system.exit(pid, int(settings.get("code", "0")))

    def _processes(self) -> list[str]:
        count = Counter(p.spec.name for p in self._started() if p.spec is not None)
        return [f"{key} {count[key]}" for key in sorted(count)] or ["none"]

    def _started(self) -> list[FakeProcess]:
        return [p for p in self._system.processes.values() if p.alive and p.spec is not None]

    def _status(self, names: list[str]) -> list[str]:
        services = self._living().supervisor.services
        rows = [services[name] for name in names or sorted(services)]
        return [
            f"{s.key}: goal {s.goal.value}, {s.state.value}, {s.status.value}, restarts {s.restarts}"
            + (f" ({s.reason})" if s.reason else "")
            for s in rows
        ]

    async def _begins(self) -> None:
        self._fresh = False
        self._life = Life(self._place, self._system)
        self._life.supervisor.sinks.append(self._saw)
        await self._life.__aenter__()

    async def close(self) -> None:
        """svcmgrd ends and leaves its processes."""
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
        life, self._life = self._life, None
        if life is not None:
            await life.__aexit__(None, None, None)


@attrs.frozen
class Block:
    """Commands (with remarks), and what they are expected to print."""

    commands: list[str]
    expected: list[str]


def parse(text: str) -> list[Block]:
    """The blocks of a scenario. A block without ``----`` is remarks alone, or new."""
    blocks = []
    for part in text.strip().split("\n\n"):
        commands, _, expected = part.partition("\n----")
        blocks.append(
            Block(commands.strip("\n").split("\n"), expected.strip("\n").split("\n") if expected.strip() else [])
        )
    return blocks


def render(blocks: list[Block]) -> str:
    """The text of a scenario file."""
    parts = []
    for block in blocks:
        body = "\n".join(block.commands)
        if any(not line.startswith("#") for line in block.commands):
            body += "\n----" + "".join(f"\n{line}" for line in block.expected)
        parts.append(body)
    return "\n\n".join(parts) + "\n"


def perform(text: str, place: Path) -> str:
    """The scenario with the output it really has."""

    async def play() -> list[Block]:
        stage = Stage(place)
        played = []
        for block in parse(text):
            printed: list[str] = []
            for line in block.commands:
                if not line.startswith("#"):
                    printed += await stage.play(line)
            played.append(Block(block.commands, [line.rstrip() for line in printed]))
        await stage.close()
        return played

    return render(run(play()))


def main(arguments: list[str]) -> int:
    """``--rewrite`` stores the output in the files; without it, they are compared."""
    rewrite = "--rewrite" in arguments
    paths = [Path(a) for a in arguments if a != "--rewrite"] or sorted(DIRECTORY.glob("*.txt"))
    differing = 0
    for path in paths:
        with tempfile.TemporaryDirectory() as place:
            found = perform(path.read_text(), Path(place))
        if found != path.read_text():
            differing += 1
            print(f"{'rewritten' if rewrite else 'differs'}: {path}")
            if rewrite:
                path.write_text(found)
    return 0 if rewrite else int(differing > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
