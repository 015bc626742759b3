"""Clients that cost next to nothing: `benches/client`, a program in Rust with all of them in one thread of its own.

Python's own clients take twice as much of the processors that they share, and many threads of it wait for one lock. Standard library only.
"""

import json
import struct
import subprocess
from dataclasses import dataclass
from functools import cache

from cluster import EDGE, ROOT, Failed

PATIENCE = 900


@dataclass(frozen=True)
class Loop:
    """One client: what it sends in each step, a request for each port, and how often it does all of that."""

    steps: list
    repeat: int = 1


@dataclass(frozen=True)
class Seen:
    """How long all of it took, each wait for an answer, and what the clients themselves took of a processor; in seconds."""

    took: float
    waits: list
    processor: float


@cache
def client():
    """The program, built where that has not been done."""
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--package", "bench-client"]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise Failed("the clients of the benchmarks cannot be built")
    return EDGE.parent / "bench-client"


def plan(ports, loops):
    """As `benches/client/src/plan.rs` reads it."""
    number = struct.Struct("<I").pack
    parts = [number(len(ports)), *map(number, ports), number(len(loops))]
    for loop in loops:
        parts += [number(loop.repeat), number(len(loop.steps))]
        for request in (request for step in loop.steps for request in step):
            parts += [number(len(request)), request]
    return b"".join(parts)


def closed_loop(ports, loops):
    """Each client sends its next step to all ports at once when all of them have answered the last one."""
    ran = subprocess.run([client()], input=plan(ports, loops), capture_output=True, timeout=PATIENCE)
    if ran.returncode:
        raise Failed(ran.stderr.decode(errors="replace").strip())
    seen = json.loads(ran.stdout)
    return Seen(seen["seconds"], [wait / 1e6 for wait in seen["waits_us"]], seen["processor_us"] / 1e6)
