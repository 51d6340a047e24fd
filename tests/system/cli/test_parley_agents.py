"""`parley agents` as a new user meets it, and as people meet who work on one agent."""

import asyncio
from pathlib import Path

import aiohttp
import jsonschema
import orjson

from deploy.cli.yaml_file import read_yaml
from shared.ids import new_id
from tests.system.cli.terminal import Terminal, environment
from tests.system.cli.test_parley_chat import run, user
from tests.system.stack import Client, Stack


def unique(prefix: str) -> str:
    return f"{prefix}-{new_id('agt')[-8:]}"


async def test_from_an_empty_folder_to_an_agent_that_answers_in_under_twelve_commands(
    stack: Stack, tmp_path: Path
) -> None:
    home, folder = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    folder.mkdir()
    slug, commands = unique("first"), 0

    async def command(*arguments: str, answers: tuple[tuple[str, str], ...] = (), shows: str) -> None:
        nonlocal commands
        commands += 1
        async with Terminal(*arguments, cwd=folder, env=environment(home)) as terminal:
            for question, answer in answers:
                await terminal.shows(question)
                terminal.type(answer + "\n")
            assert await terminal.ends() == 0, terminal.screen.text
            assert shows in terminal.screen.text
            assert stack.facts["secretKey"] not in terminal.screen.text

    login = (("Server", stack.facts["baseUrl"]), ("Key:", stack.facts["secretKey"]))
    await command("login", answers=login, shows="is the profile default now")
    await command("status", shows="works")
    await command("agents", "init", slug, shows="agent.yaml is written")
    await command("agents", "apply", answers=(("Apply?", "y"),), shows=f"{slug} created")
    await command("agents", "publish", slug, shows=f"{slug} version 1 is published")
    await command("agents", "list", shows=slug)
    conversation = (("(/help)", "Hello"), ("built-in demo", "/quit"))
    await command("chat", slug, answers=conversation, shows="Hello!")
    assert commands < 12
    assert (home / ".config/parley/config.json").stat().st_mode & 0o777 == 0o600


async def test_an_agent_lives_through_changes_versions_and_a_rollback(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    env, slug = user(stack, tmp_path), unique("life")
    file = tmp_path / "agent.yaml"

    async def ok(*arguments: str) -> bytes:
        code, out, err = await run(*arguments, cwd=tmp_path, env=env)
        assert code == 0, err.decode()
        return out

    await ok("agents", "init", slug)
    assert orjson.loads(await ok("agents", "apply", "--yes", "--json"))["outcome"] == "created"
    assert orjson.loads(await ok("agents", "apply", "--yes", "--json"))["outcome"] == "unchanged"
    await ok("agents", "publish", slug)
    agent_id = orjson.loads(await ok("agents", "show", slug, "--json"))["id"]
    session = await client.session(agent_id)

    file.write_text(file.read_text().replace("briefly", "curtly"))
    assert "+ You answer questions curtly" in (await ok("agents", "diff")).decode()
    code, _, _ = await run("agents", "diff", "--exit-code", cwd=tmp_path, env=env)
    assert code == 1
    planned = orjson.loads(await ok("agents", "apply", "--dry-run", "--json"))
    assert (planned["outcome"], planned["changes"][0]["field"]) == ("planned", "instructions")
    assert orjson.loads(await ok("agents", "apply", "--yes", "--json"))["revision"] == 2
    assert orjson.loads(await ok("agents", "publish", slug, "--note", "curt", "--json"))["number"] == 2
    assert "curtly" in (await ok("agents", "diff", slug, "2")).decode()
    _, body = await client.call("GET", f"/chat/sessions/{session}")
    assert body["data"]["agentVersion"] == 1
    await ok("agents", "rollback", slug, "1")
    versions = orjson.loads(await ok("agents", "versions", slug, "--json"))
    assert [(version["number"], version["note"]) for version in versions] == [(2, "curt"), (1, "")]
    assert orjson.loads(await ok("agents", "show", slug, "--json"))["publishedVersion"] == 1
    _, body = await client.call("GET", f"/chat/sessions/{await client.session(agent_id)}")
    assert body["data"]["agentVersion"] == 1
    await ok("agents", "delete", slug, "--yes")
    code, _, err = await run("agents", "show", slug, cwd=tmp_path, env=env)
    assert (code, slug in err.decode()) == (7, True)


async def test_apply_refuses_to_undo_what_another_person_changed_meanwhile(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    env, slug = user(stack, tmp_path), unique("shared")
    file = tmp_path / "agent.yaml"
    await run("agents", "init", slug, cwd=tmp_path, env=env)
    code, out, _ = await run("agents", "apply", "--yes", "--json", cwd=tmp_path, env=env)
    agent_id = orjson.loads(out)["id"]
    await client.call("PATCH", f"/agents/{agent_id}", {"instructions": "Mine."})
    file.write_text(file.read_text().replace("briefly", "curtly"))

    code, out, err = await run("agents", "apply", "--yes", cwd=tmp_path, env=env)
    assert (code, b"- Mine." in out, b"--overwrite" in err) == (6, True, True)
    _, body = await client.call("GET", f"/agents/{agent_id}")
    assert body["data"]["draft"]["instructions"] == "Mine."

    # A colleague who has the file without its lock is refused as well, and who has both is not.
    (tmp_path / "agent.yaml.lock").rename(tmp_path / "away")
    code, _, err = await run("agents", "apply", "--yes", cwd=tmp_path, env=env)
    assert (code, b"never applied from here" in err) == (6, True)
    code, _, _ = await run("agents", "apply", "--yes", "--overwrite", cwd=tmp_path, env=env)
    assert code == 0
    file.write_text(file.read_text().replace("curtly", "kindly"))
    assert (await run("agents", "apply", "--yes", cwd=tmp_path, env=env))[0] == 0


async def test_a_change_between_the_plan_and_its_confirmation_is_refused_with_the_difference(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    env, slug = user(stack, tmp_path), unique("race")
    file = tmp_path / "agent.yaml"
    await run("agents", "init", slug, cwd=tmp_path, env=env)
    _, out, _ = await run("agents", "apply", "--yes", "--json", cwd=tmp_path, env=env)
    agent_id = orjson.loads(out)["id"]
    file.write_text(file.read_text().replace("briefly", "curtly"))
    async with Terminal("agents", "apply", cwd=tmp_path, env=env) as terminal:
        await terminal.shows("Apply?")
        await client.call("PATCH", f"/agents/{agent_id}", {"instructions": "Mine."})
        terminal.type("y\n")
        assert await terminal.ends() == 6
        assert "- Mine." in terminal.screen.text
    _, body = await client.call("GET", f"/agents/{agent_id}")
    assert (body["data"]["draft"]["instructions"], body["data"]["revision"]) == ("Mine.", 2)


async def test_what_the_server_finds_wrong_in_a_file_has_its_line(stack: Stack, tmp_path: Path) -> None:
    env = user(stack, tmp_path)
    text = f"slug: {unique('bad')}\nname: Bad\nmodel:\n  name: demo/extractive\ninstructions: Hi {{{{agent.nmae}}}}\n"
    (tmp_path / "agent.yaml").write_text(text)
    code, _, err = await run("agents", "apply", "--yes", cwd=tmp_path, env=env)
    assert (code, err.decode().startswith("parley: agent.yaml:5: instructions: ")) == (3, True), err


async def test_the_schema_for_editors_is_served_to_everyone(stack: Stack, tmp_path: Path) -> None:
    await run("agents", "init", "x", cwd=tmp_path, env=user(stack, tmp_path))
    first_line = (tmp_path / "agent.yaml").read_text().splitlines()[0]
    async with aiohttp.ClientSession() as http, http.get(first_line.rpartition("$schema=")[2]) as answer:
        schema = await answer.json()
    jsonschema.validate(
        await asyncio.to_thread(lambda: read_yaml((tmp_path / "agent.yaml").read_bytes()).value), schema
    )


CHECKED = """\
slug: {slug}
name: Checked
model:
  name: demo/extractive
instructions: Be kind.
checks:
  - name: greets
    steps:
      - user: Hello
        expect:
          - contains: {expected}
"""


async def test_checks_in_the_file_are_applied_run_and_required_before_publishing(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    env, slug = user(stack, tmp_path), unique("checked")
    file = tmp_path / "agent.yaml"

    async def parley(*arguments: str) -> tuple[int, str]:
        code, out, err = await run(*arguments, cwd=tmp_path, env=env)
        return code, out.decode() + err.decode()

    file.write_text(CHECKED.format(slug=slug, expected="goodbye"))
    assert (await parley("agents", "apply", "--yes"))[0] == 0
    code, said = await parley("agents", "apply", "--yes")
    assert (code, f"{slug} unchanged" in said) == (0, True), said
    code, said = await parley("agents", "check", slug)
    assert (code, "- failed  greets" in said, "1 of 1 checks failed" in said) == (1, True, True), said
    code, said = await parley("agents", "publish", slug, "--require-checks")
    assert (code, "version 1 failed" in said) == (1, True), said

    file.write_text(CHECKED.format(slug=slug, expected="hello"))
    code, said = await parley("agents", "apply", "--yes")
    assert (code, "~ checks.greets.steps" in said) == (0, True), said
    code, said = await parley("agents", "check", slug)
    assert (code, "+ passed  greets (before: failed)" in said) == (0, True), said
    code, said = await parley("agents", "publish", slug, "--require-checks")
    assert (code, said) == (0, f"{slug} version 2 is published\n")

    # Another person's checks are not overwritten unseen either.
    agent_id = orjson.loads((await run("agents", "show", slug, "--json", cwd=tmp_path, env=env))[1])["id"]
    status, _ = await client.call("PUT", f"/agents/{agent_id}/checks", {"checks": []})
    assert status == 200
    assert (await parley("agents", "apply", "--yes"))[0] == 6
    assert (await parley("agents", "apply", "--yes", "--overwrite"))[0] == 0
