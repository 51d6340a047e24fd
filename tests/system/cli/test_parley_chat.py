"""`parley chat` at a terminal, while what serves it is killed."""

import asyncio
import os
import signal
from pathlib import Path

import orjson

from tests.conftest import eventually
from tests.system.cli.terminal import PARLEY, Terminal, environment
from tests.system.stack import Client, Stack


def bare(text: str) -> str:
    """Without white space: rows end without their blanks."""
    return "".join(text.split())


def user(stack: Stack, tmp_path: Path) -> dict[str, str]:
    facts = stack.facts
    return environment(tmp_path, PARLEY_URL=facts["baseUrl"], PARLEY_API_KEY=facts["secretKey"])


async def run(*arguments: str, cwd: Path, env: dict[str, str], stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        str(PARLEY),
        *arguments,
        cwd=cwd,
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out, err


def kill(pids: list[int | None]) -> None:
    for pid in pids:
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


async def test_the_text_on_the_screen_is_the_stored_one_though_gateways_and_workers_die(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    agent = await stack.publish("scripted/tokens=250,delay=20,text=echo")
    async with Terminal("chat", agent, cwd=tmp_path, env=user(stack, tmp_path)) as terminal:
        await terminal.shows("session ses_")
        session = next(word for word in terminal.screen.text.split() if word.startswith("ses_"))
        await terminal.ends_with("> ")
        terminal.type("Tell me of pizza\n")
        await terminal.shows(".0] ")
        pids = stack.facts["pids"]
        kill(pids["gateway"])
        kill(pids["worker"])
        await terminal.ends_with("> ", within_s=30)
        _, _, shown = terminal.screen.text.partition("Tell me of pizza\n")
        terminal.type("/quit\n")
        assert await terminal.ends() == 0
    (question, *answers) = await client.messages(session)
    stored = "".join(message["content"] for message in answers)
    assert question["content"] == "Tell me of pizza"
    assert len(stored) > 1000
    assert bare(shown) == bare(stored) + ">"


async def test_ctrl_c_cancels_the_turn_and_what_was_answered_stays_on_the_screen(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    agent = await stack.publish("scripted/tokens=5000,delay=20,text=echo")
    async with Terminal("chat", agent, cwd=tmp_path, env=user(stack, tmp_path)) as terminal:
        await terminal.shows("session ses_")
        session = next(word for word in terminal.screen.text.split() if word.startswith("ses_"))
        await terminal.ends_with("> ")
        terminal.type("Tell me of pizza\n")
        await terminal.shows(".0] ")
        terminal.type("\x03")
        await terminal.shows("cancelled\n")
        await terminal.ends_with("> ")
        _, _, shown = terminal.screen.text.partition("Tell me of pizza\n")
        terminal.type("/quit\n")
        assert await terminal.ends() == 0
    (_, answer) = await client.messages(session)
    assert answer["status"] == "partial"
    assert bare(shown) == bare(answer["content"]) + "cancelled>"


async def test_resume_shows_the_running_turn_from_another_terminal_and_cancel_ends_it(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    agent = await stack.publish("scripted/tokens=5000,delay=20,text=echo")
    session = await client.session(agent)
    status, _ = await client.call(
        "POST", f"/chat/sessions/{session}/messages", {"content": "Go on"}, Prefer="respond-async"
    )
    assert status == 202
    async with Terminal("chat", agent, "--session", session, cwd=tmp_path, env=user(stack, tmp_path)) as terminal:
        await terminal.ends_with("> ")
        terminal.type("Hello?\n")
        await terminal.shows("a turn is running in this session: /resume shows it")
        terminal.type("/resume\n")
        await terminal.shows(".0] ")
        terminal.type("/cancel\n")
        await terminal.shows("cancelled\n")
        terminal.type("/quit\n")
        assert await terminal.ends() == 0


async def test_tool_calls_and_retrievals_are_shown(stack: Stack, tmp_path: Path) -> None:
    facts = stack.facts
    async with Terminal("chat", facts["agentId"], cwd=tmp_path, env=user(stack, tmp_path)) as terminal:
        await terminal.ends_with("> ")
        terminal.type("Where is order 1042?\n")
        await terminal.shows("← order_status: ok")
        assert "searched “Where is order 1042?”" in terminal.screen.text
        assert "→ order_status" in terminal.screen.text
        terminal.type("/quit\n")
        assert await terminal.ends() == 0


async def test_on_a_pipe_each_line_is_a_question_and_each_answer_comes_once(stack: Stack, tmp_path: Path) -> None:
    agent, env = stack.facts["agentId"], user(stack, tmp_path)
    code, out, err = await run("chat", agent, cwd=tmp_path, env=env, stdin=b"Do you deliver to 80202?\nYour hours?\n")
    assert (code, err) == (0, b"")
    assert len(out.splitlines()) >= 2
    assert b"80202" in out.splitlines()[0]
    code, out, _ = await run("chat", agent, "--json", "-m", "Your hours?", cwd=tmp_path, env=env)
    events = [orjson.loads(line)["event"] for line in out.splitlines()]
    assert (code, events[0], events[-1]) == (0, "queued", "done")


async def test_sessions_are_listed_shown_and_exported(stack: Stack, client: Client, tmp_path: Path) -> None:
    agent, env = stack.facts["agentId"], user(stack, tmp_path)
    session = await client.session(agent)
    told = await client.ask(session, "Your hours?")
    code, out, _ = await run("sessions", "list", "--agent", agent, cwd=tmp_path, env=env)
    assert (code, session in out.decode()) == (0, True)
    code, out, _ = await run("sessions", "show", session, cwd=tmp_path, env=env)
    assert told.text in out.decode()
    slug = (await client.call("GET", f"/agents/{agent}"))[1]["data"]["slug"]

    async def is_found() -> bool:
        arguments = ("sessions", "list", "--search", "YOUR hours", "--agent", slug)
        code, out, err = await run(*arguments, cwd=tmp_path, env=env)
        assert code == 0, err
        return session in out.decode()

    await eventually(is_found, within_s=20.0, what="the session by what was said in it")
    code, out, err = await run("sessions", "export", "--agent", agent, "-o", "all.ndjson", cwd=tmp_path, env=env)
    assert (code, out, b"written to all.ndjson" in err) == (0, b"", True)
    exported = [orjson.loads(line) for line in (tmp_path / "all.ndjson").read_bytes().splitlines()]
    (found,) = [each for each in exported if each["session"]["id"] == session]
    assert [message["content"] for message in found["messages"]] == ["Your hours?", told.text]


async def test_a_filter_that_this_server_would_pass_over_is_not_sent(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    env = user(stack, tmp_path)
    _, document = await client.call("GET", "/openapi.json")
    names = {parameter["name"] for parameter in document["paths"]["/api/v1/chat/sessions"]["get"]["parameters"]}
    code, _, err = await run("sessions", "list", "--end-user", "nobody", "--json", cwd=tmp_path, env=env)
    assert code == (0 if "endUser" in names else 8), err
    code, _, _ = await run("sessions", "list", "--metadata", "nonsense", cwd=tmp_path, env=env)
    assert code == 2


async def test_a_wrong_key_no_server_and_no_session_are_one_line_each(stack: Stack, tmp_path: Path) -> None:
    env = user(stack, tmp_path)
    cases = (
        ({**env, "PARLEY_API_KEY": "parley_sk_test_wrong"}, ("agents", "list"), 4, "refuses the key"),
        ({**env, "PARLEY_API_KEY": ""}, ("agents", "list"), 4, "parley login"),
        ({**env, "PARLEY_URL": "http://127.0.0.1:9"}, ("status",), 5, "no server answers at http://127.0.0.1:9"),
        ({**env, "PARLEY_URL": stack.facts["modelUrl"]}, ("agents", "list"), 5, "is not a Parley server"),
        (env, ("sessions", "show", "ses_00000000000000000000000000"), 7, "session_not_found"),
    )
    for variables, arguments, expected, words in cases:
        code, out, err = await run(*arguments, cwd=tmp_path, env=variables)
        assert (code, out, len(err.splitlines())) == (expected, b"", 1), (arguments, out, err)
        assert words in err.decode()
