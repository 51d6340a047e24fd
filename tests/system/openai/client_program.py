"""A client in its own process: it reads its configuration from stdin and prints one JSON document per line."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson


@asynccontextmanager
async def program(
    *command: str, cwd: Path, config: dict[str, Any], environment: Mapping[str, str] | None = None
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The program's documents, as it prints them. It is ended with the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 22,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(orjson.dumps(config))
        process.stdin.close()
        yield _documents(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _documents(process: asyncio.subprocess.Process) -> AsyncIterator[dict[str, Any]]:
    assert process.stdout is not None
    assert process.stderr is not None
    async for line in process.stdout:
        yield orjson.loads(line)
    errors = await process.stderr.read()
    assert await process.wait() == 0, errors.decode()[-3000:]
