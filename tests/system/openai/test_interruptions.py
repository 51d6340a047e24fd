"""A worker killed under the clients: before the first text nobody notices, after it everybody is told."""

import asyncio
import os
import signal
from typing import Any

import openai

from deploy.demo.scripted import scripted_answer
from tests.conftest import eventually
from tests.system.openai.conftest import Received
from tests.system.openai.node_client import Node
from tests.system.stack import Stack


def kill_workers(stack: Stack) -> None:
    """Whichever runs the turn is among them; the supervisor brings them back."""
    for pid in stack.facts["pids"]["worker"]:
        os.kill(pid, signal.SIGKILL)


async def _python(sdk: openai.AsyncOpenAI, model: str, question: str, started: asyncio.Event) -> tuple[str, str]:
    text = ""
    try:
        stream = await sdk.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], stream=True
        )
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            if text:
                started.set()
    except openai.APIError as error:
        return "raised", error.message
    return "end", text


async def _node(node: Node, model: str, question: str, started: asyncio.Event) -> dict[str, Any]:
    async with node.start("follow.mjs", model=model, question=question) as documents:
        last: dict[str, Any] = {}
        async for last in documents:
            if last["event"] == "text":
                started.set()
        return last


async def test_a_worker_killed_in_mid_answer_makes_both_sdks_raise(
    stack: Stack, sdk: openai.AsyncOpenAI, node: Node
) -> None:
    agent_id = await stack.publish("scripted/tokens=1500,delay=20,text=echo")
    python_started, node_started = asyncio.Event(), asyncio.Event()
    python = asyncio.create_task(_python(sdk, agent_id, "killed for python", python_started))
    other = asyncio.create_task(_node(node, agent_id, "killed for node", node_started))
    async with asyncio.timeout(30):
        await python_started.wait()
        await node_started.wait()
    kill_workers(stack)
    outcome, message = await python
    assert (outcome, "started again" in message) == ("raised", True), message
    told = await other
    assert (told["event"], "started again" in told["message"]) == ("raised", True), told


async def test_a_worker_killed_before_the_first_text_goes_unnoticed(
    stack: Stack, sdk: openai.AsyncOpenAI, node: Node, received: Received
) -> None:
    agent_id = await stack.publish("scripted/tokens=9,first=2500,text=echo")
    questions = ("silent for python", "silent for node")
    python = asyncio.create_task(_python(sdk, agent_id, questions[0], asyncio.Event()))
    other = asyncio.create_task(_node(node, agent_id, questions[1], asyncio.Event()))

    async def all_run() -> bool:
        return all([len(await received(question)) == 1 for question in questions])

    await eventually(all_run, within_s=30, what="both turns at the model")
    kill_workers(stack)
    assert await python == ("end", scripted_answer(questions[0], 9))
    told = await other
    assert (told["event"], told["text"]) == ("end", scripted_answer(questions[1], 9))
    assert [len(await received(question)) for question in questions] == [2, 2]
