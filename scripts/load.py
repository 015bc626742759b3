"""Clients that cost next to nothing: `benches/client`, a Rust program that runs all of them in one thread.

Clients in Python would take twice as much of the shared processors, and many Python threads wait for one lock.
Standard library only.
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
    """One client: its steps, each with a request for each port, and how often it repeats all of them."""

    steps: list
    repeat: int = 1


@dataclass(frozen=True)
class Seen:
    """How long everything took, each wait for an answer, and the processor time of the clients themselves, in seconds."""

    took: float
    waits: list
    processor: float


@cache
def client():
    """Returns the program, and builds it first if needed."""
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--package", "bench-client"]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise Failed("the clients of the benchmarks cannot be built")
    return EDGE.parent / "bench-client"


def plan(ports, loops):
    """Returns the plan in the format that `benches/client/src/plan.rs` reads."""
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
