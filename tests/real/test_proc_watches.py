"""The shared epoll set: one callback per watch, whatever the callbacks do."""

from __future__ import annotations

import asyncio
import os

from svcmgr.proc.watches import Watches


def test_each_readable_descriptor_is_told_once_and_the_set_goes_with_the_last() -> None:
    async def main() -> None:
        watches, told = Watches(), []
        done = asyncio.Event()
        pipes = [os.pipe() for _ in range(3)]

        def tell(index: int) -> None:
            told.append(index)
            if len(told) == 2:
                done.set()

        for index, (reading, _) in enumerate(pipes):
            watches.add(reading, lambda index=index: tell(index))
        os.write(pipes[0][1], b"x")
        os.write(pipes[2][1], b"x")
        async with asyncio.timeout(10):
            await done.wait()
        assert sorted(told) == [0, 2]
        before = len(os.listdir("/proc/self/fd"))
        watches.remove(pipes[1][0])
        watches.remove(pipes[1][0])
        assert len(os.listdir("/proc/self/fd")) == before - 1
        for ends in pipes:
            for fd in ends:
                os.close(fd)

    asyncio.run(main())


def test_a_callback_may_let_go_of_another_and_fail() -> None:
    async def main() -> None:
        watches, told = Watches(), []
        failures = []
        done = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
        first, second, third = os.pipe(), os.pipe(), os.pipe()

        def fail(other: int) -> None:
            watches.remove(other)
            told.append("failed")
            raise RuntimeError("on purpose")

        watches.add(first[0], lambda: fail(second[0]))
        watches.add(second[0], lambda: fail(first[0]))
        watches.add(third[0], lambda: told.append("replaced"))
        watches.add(third[0], done.set)
        for _, writing in (first, second, third):
            os.write(writing, b"x")
        async with asyncio.timeout(10):
            await done.wait()
        assert told == ["failed"]
        assert [type(error) for error in failures] == [RuntimeError]
        for ends in (first, second, third):
            for fd in ends:
                os.close(fd)

    asyncio.run(main())
