"""What the README says to paste is pasted."""

import asyncio
import re
import sys

import pytest

from tests.system.stack import ROOT, Stack

EXPECTED = {"bash": ["event: done", "80202", "data: [DONE]", "1042"], "python": ["11:00"]}


def example(language: str) -> str:
    section = (ROOT / "README.md").read_text().split("## Try it")[1].split("\n## ")[0]
    (code,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(code)


@pytest.mark.parametrize("language", ["bash", "python"])
async def test_the_examples_work_as_pasted(stack: Stack, language: str) -> None:
    facts = stack.facts
    code = (
        example(language)
        .replace("http://127.0.0.1:8080", facts["baseUrl"])
        .replace(".parley/key", str(stack.data_dir / "key"))
    )
    program = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
    process = await asyncio.create_subprocess_exec(
        *program, code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    told = output.decode()
    assert process.returncode == 0, told
    for fragment in EXPECTED[language]:
        assert fragment in told
