"""The commands that the README tells its readers to paste are run as they stand there."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.system.cli.terminal import PARLEY, environment
from tests.system.stack import ROOT, Stack

SECTIONS = {"try": "## Try it", "own": "## Your own agent in five minutes"}


def example(section: str, language: str) -> str:
    text = (ROOT / "README.md").read_text().split(SECTIONS[section])[1].split("\n## ")[0]
    (code,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(code)


async def run(stack: Stack, section: str, language: str, directory: Path) -> str:
    """Its output. Only the address, the interpreter and the data directory are replaced."""
    code = (
        example(section, language)
        .replace("http://127.0.0.1:8080", stack.facts["baseUrl"])
        .replace(".parley", str(stack.data_dir))
        .replace(".venv/bin/python", sys.executable)
        .replace(".venv/bin/parley", str(PARLEY))
    )
    program = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
    process = await asyncio.create_subprocess_exec(
        *program,
        code,
        cwd=directory,
        env={**environment(directory), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.parametrize(
    ("language", "expected"),
    [("bash", ["event: done", "80202", "data: [DONE]", "1042"]), ("python", ["11:00"])],
)
async def test_the_examples_work_as_pasted(stack: Stack, language: str, expected: list[str], tmp_path: Path) -> None:
    output = await run(stack, "try", language, tmp_path)
    assert [fragment for fragment in expected if fragment not in output] == []


async def test_an_own_agent_is_published_as_pasted_and_answers(stack: Stack, tmp_path: Path) -> None:
    output = await run(stack, "own", "bash", tmp_path)
    *_, published, answer = output.splitlines()
    assert published == "support version 1 is published", output
    assert answer.startswith("Hello"), output
