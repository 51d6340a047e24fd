"""Our own OpenAPI document against the running gateway: generated requests, and every answer held to what the document says."""

import asyncio
import os
import sys
from pathlib import Path

from tests.service.gateway.fakes import Stage, stage

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
EXAMPLES = os.environ.get("PARLEY_TEST_EXAMPLES", "40")
CONFIG = """
[parameters]
sessionId = "{session}"
turnId = "{turn}"
completionId = "{completion}"
model = "{agent}"

[[operations]]
include-path-regex = "/chat/sessions/[^/]+(/end)?$"
parameters = {{ sessionId = "{other}" }}
"""


async def _answer_everything(gateway: Stage) -> None:
    answered: set[str] = set()
    while True:
        for turn_id in set(gateway.history.turns) - answered:
            answered.add(turn_id)
            await gateway.answer(turn_id, "Hello ", "you.")
        await asyncio.sleep(0.005)


async def _stored_completion(gateway: Stage) -> str:
    body = {"model": gateway.agent_id, "messages": [{"role": "user", "content": "hi"}], "store": True}
    async with gateway.client.post(gateway.url("/chat/completions"), json=body) as response:
        name: str = (await response.json())["id"]
        return name


async def _turn(gateway: Stage, session: str) -> str:
    async with gateway.client.post(gateway.url(f"/chat/sessions/{session}/messages"), json={"content": "hi"}) as response:
        turn_id: str = (await response.json())["data"]["turnId"]
        return turn_id


async def test_generated_requests_never_meet_an_answer_that_the_document_does_not_know(redis_url: str, tmp_path: Path) -> None:
    async with stage(redis_url, requests_per_minute=1_000_000) as gateway:
        worker = asyncio.create_task(_answer_everything(gateway))
        session = await gateway.session()
        ids = {"session": session, "turn": await _turn(gateway, session), "completion": await _stored_completion(gateway)}
        config = tmp_path / "schemathesis.toml"
        config.write_text(CONFIG.format(**ids, agent=gateway.agent_id, other=await gateway.session()))
        program = Path(sys.executable).with_name("st")
        command = [str(program), "--config-file", str(config), "run", gateway.url("/openapi.json"), "--url", gateway.base]
        command += [
            "--checks",
            CHECKS,
            "-n",
            EXAMPLES,
            "--phases",
            "coverage,fuzzing",
            "--seed",
            "1",
            "--request-timeout",
            "10",
            "--no-color",
        ]
        command += ["-H", f"Authorization: Bearer {gateway.key}", "--suppress-health-check", "all", "--request-timeout", "10"]
        run = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        try:
            output, _ = await run.communicate()
        finally:
            if run.returncode is None:
                run.kill()
                await run.wait()
            worker.cancel()
        assert run.returncode == 0, output.decode()
    print(output.decode()[-400:])
