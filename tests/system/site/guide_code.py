"""The examples of a guide, as a reader pastes them: all blocks of one language in one go, in an empty folder."""

import asyncio
import re
import sys
from pathlib import Path

from deploy.site.guides import GUIDES
from tests.system.cli.terminal import PARLEY, environment
from tests.system.stack import ROOT, Stack


def code_of(slug: str, language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", (GUIDES / f"{slug}.md").read_text(), re.DOTALL))


def on_stack(code: str, stack: Stack) -> str:
    """Only the address, the interpreter and the data directory are replaced."""
    return (
        code.replace("http://127.0.0.1:8080", stack.facts["baseUrl"])
        .replace(".parley", str(stack.data_dir))
        .replace(".venv/bin/python", sys.executable)
        .replace(".venv/bin/parley", str(PARLEY))
    )


async def run(code: str, language: str, stack: Stack, directory: Path) -> str:
    """Its output. Fails if a command fails."""
    program = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
    process = await asyncio.create_subprocess_exec(
        *program,
        on_stack(code, stack),
        cwd=directory,
        env={**environment(directory), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(90):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()
