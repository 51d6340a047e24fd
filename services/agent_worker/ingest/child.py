"""The child process that extracts: its limits, its end, and what its end means to the person who added the source."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from services.agent_worker.ingest.blocks import Unreadable
from services.agent_worker.ingest.extraction import Input, Result
from shared.log import get_logger

log = get_logger()

ROOT: Final = Path(__file__).resolve().parents[3]
_TOO_LONG: Final = "Reading it took too long. Split it, or save it in a simpler form."
_TOO_LARGE: Final = "Reading it needs too much memory. Split it, or save it in a simpler form."
# How the libraries say that an allocation failed; the HTML parser has no error of its own for it.
_NO_MEMORY: Final = (b"MemoryError", b"bad_alloc", b"SelectolaxError")


class ChildCrashed(Exception):
    """The child ended in a way that may not repeat: it was killed from outside, or its library failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    memory_bytes: int = 1 << 30
    cpu_s: int = 60
    time_s: float = 120.0
    output_bytes: int = 128 << 20


@dataclass(frozen=True, slots=True)
class Extracted:
    """`passages` are read from the file as they are needed."""

    result: Result
    output: Path

    def passages(self) -> Iterator[dict[str, Any]]:
        with self.output.open("rb") as file:
            next(file)
            for line in file:
                yield orjson.loads(line)


async def extract_in_child(inputs: list[Input], directory: Path, limits: Limits) -> Extracted:
    """Raises Unreadable, ChildCrashed. Cancelling it ends the child."""
    output, order = directory / "passages.jsonl", directory / "order.json"
    order.write_bytes(orjson.dumps({"inputs": inputs, "output": str(output)}))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.agent_worker.ingest.extraction", str(order),
        cwd=ROOT, env={"LANG": "C.UTF-8", "TMPDIR": str(directory)}, start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: _limit(limits),  # Calls setrlimit only; no lock is taken.
    )  # fmt: skip
    try:
        async with asyncio.timeout(limits.time_s):
            _, complaint = await child.communicate()
    except TimeoutError:
        raise Unreadable(_TOO_LONG) from None
    finally:
        await _end(child)
    return _outcome(child.returncode or 0, complaint, output)


def _limit(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.output_bytes, limits.output_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def _outcome(code: int, complaint: bytes, output: Path) -> Extracted:
    if code == -signal.SIGXCPU:
        raise Unreadable(_TOO_LONG)
    if any(sign in complaint for sign in _NO_MEMORY):
        raise Unreadable(_TOO_LARGE)
    if code == -signal.SIGXFSZ or b"File too large" in complaint:
        raise Unreadable("It has too much text. Split it.")
    if code == 1 and b"Traceback" in complaint and b"ModuleNotFoundError" not in complaint:
        log.warning("extraction_failed", error=complaint.rpartition(b"\n  File ")[2].decode("utf-8", "replace")[-500:])
        raise Unreadable("It is damaged, or has a form that cannot be read.")
    if code != 0 or not output.exists():
        raise ChildCrashed(f"exit code {code}")
    with output.open("rb") as file:
        result: Result = orjson.loads(file.readline())
    if "failed" in result:
        raise Unreadable(result["failed"])
    return Extracted(result, output)
