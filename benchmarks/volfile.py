"""Reading, comparing and writing a large volfile: ours against reading the file and splitting it into words.

    python -m benchmarks.volfile [--blocks N] [--runs N] [--json]

The volfile has N blocks (10,000) with a type, three options each and edges, about 2 MB: every tenth block is a leaf,
the others form chains, the top has all chains below it. The last row but one has one word of each block in quotes, so
that no block is plain. For each row milliseconds, and the ratio of the median to the floor: the same file read and
split into the words of its lines, which is the least that any reader written in Python does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from svcmgr.volume import Graph, Node, Verdict, checksum, compare, parse, render

#: Milliseconds that reading and comparing 10,000 blocks may take.
GOAL_MS = 200.0


def graph_of(count: int) -> Graph:
    """Chains of ten below one top."""
    nodes = [
        Node(
            f"volume-node-{number}",
            "features/example",
            tuple((f"example-option-{key}", f"value-{number}-{key}") for key in range(3)),
            (f"volume-node-{number - 1}",) if number % 10 else (),
        )
        for number in range(count - 1)
    ]
    used = {name for node in nodes for name in node.subvolumes}
    tops = tuple(node.name for node in nodes if node.name not in used)
    return Graph((*nodes, Node("volume-top", "debug/io-stats", (("log-level", "INFO"),), tops)))


def other_options(graph: Graph) -> Graph:
    """``graph`` with another value in every tenth node."""
    nodes = list(graph.nodes)
    for index in range(0, len(nodes) - 1, 10):
        nodes[index] = attrs.evolve(nodes[index], options=(*nodes[index].options[:2], ("example-option-2", "new")))
    return Graph(tuple(nodes))


def timed(action: Callable[[], object], runs: int) -> list[float]:
    """Milliseconds of each run."""
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        found.append((time.perf_counter() - began) * 1000)
    return found


def measure(count: int, runs: int, file: Path) -> dict[str, list[float]]:
    """Row name -> milliseconds."""
    old = graph_of(count)
    new = other_options(old)
    text, changed = render(old), render(new)
    quoted = text.replace("option example-option-0 ", 'option "example-option-0" ')
    file.write_text(text, encoding="utf-8")
    assert parse(text) == old == parse(quoted)
    assert compare(old, new).verdict is Verdict.OPTIONS

    rows = {
        "floor: read, split into words": lambda: [
            line.split() for line in file.read_text(encoding="utf-8").split("\n")
        ],
        "parse": lambda: parse(text),
        "parse, compare with the graph at hand": lambda: compare(old, parse(changed)),
        "parse both, compare": lambda: compare(parse(text), parse(changed)),
        "compare alone": lambda: compare(old, new),
        "parse, a word of each block in quotes": lambda: parse(quoted),
        "render": lambda: render(old),
        "checksum": lambda: checksum(text),
    }
    return {name: timed(action, runs) for name, action in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rows = measure(args.blocks, args.runs, Path(work) / "big.vol")
    floor = statistics.median(rows["floor: read, split into words"])
    result = {
        name: {"min": min(ms), "median": statistics.median(ms), "max": max(ms), "ratio": statistics.median(ms) / floor}
        for name, ms in rows.items()
    }
    if args.json:
        print(json.dumps({"blocks": args.blocks, "runs": args.runs, "goal_ms": GOAL_MS, "rows": result}, indent=2))
        return
    print(f"{args.blocks} blocks, {args.runs} runs; goal for parse and compare of 10,000: below {GOAL_MS:.0f} ms")
    for name, row in result.items():
        print(f"{name:40} {row['min']:8.1f} {row['median']:8.1f} {row['max']:8.1f} ms   {row['ratio']:5.2f}x")


if __name__ == "__main__":
    main()
