"""The playground in a real Chromium: used with a key, cut, resumed, copied from, and misused."""

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.conftest import eventually
from tests.programs import required_program
from tests.system.browser.hostile import hostile_texts
from tests.system.browser.looks import LOOKS, looked_at
from tests.system.browser.visit import Visit
from tests.system.faces.cut_line import CutLine
from tests.system.site.guide_code import run
from tests.system.stack import Client, Stack

SLOW = "scripted/tokens=120,delay=25,text=echo"
DEMO = "agt_000000000000000000000p1zza"


@pytest.fixture
def visit(context: BrowserContext, stack: Stack) -> Visit:
    return Visit(context, stack.facts["baseUrl"])


async def opened(visit: Visit, stack: Stack, agent_id: str, key: str | None = None) -> Page:
    page = await visit.open_with_key("/playground", key or stack.facts["secretKey"])
    await page.get_by_label("Agent").select_option(agent_id)
    return page


async def ask(page: Page, question: str) -> None:
    await page.get_by_label("Message").fill(question)
    await page.keyboard.press("Enter")


async def ended(page: Page) -> None:
    await page.get_by_text("The stream has ended.").wait_for()


async def test_a_turn_in_the_playground_is_cut_and_resumed(
    visit: Visit, stack: Stack, client: Client, axe: str, tmp_path: Path
) -> None:
    page = await opened(visit, stack, await stack.publish(SLOW))
    await ask(page, "hello")
    await page.locator(".frame.delta").first.wait_for()
    await page.get_by_role("button", name="Cut the connection").click()
    await page.get_by_text("The stream is cut.").wait_for()
    shown = await page.locator(".frame").count()
    await page.get_by_role("button", name="Resume").click()
    await ended(page)
    # The frames before the cut stand; those after it came by a second connection.
    assert await page.locator(".frame").count() > shown
    assert await page.get_by_text("connection 2").count() >= 2
    session_id = await page.locator(".session code").inner_text()
    (_, answer) = await client.messages(session_id)
    told = "".join(await page.locator(".frame.delta .gist").all_text_contents())
    assert told.split() == str(answer["content"]).split()
    assert (await page.locator(".answer").inner_text()).split() == told.split()
    assert "tokens" in await page.locator(".frame.done").inner_text()
    await looked_at(page, axe, tmp_path / "playground.png")
    assert visit.wrong == []


@pytest.mark.long
@pytest.mark.parametrize("name", LOOKS)
async def test_axe_finds_nothing_in_the_playground(
    browser: Browser, stack: Stack, axe: str, tmp_path: Path, name: str
) -> None:
    context = await browser.new_context(locale="en-GB", **LOOKS[name])
    visit = Visit(context, stack.facts["baseUrl"])
    page = await visit.open("/playground")
    await looked_at(page, axe, tmp_path / f"{name}-key.png")
    page = await opened(visit, stack, DEMO)
    await ask(page, "Do you deliver to 80202?")
    await ended(page)
    await ask(page, "Where is order 1042?")
    await page.get_by_text("tool_result").wait_for()
    await ended(page)
    await page.locator(".frame.tool_result summary").click()
    await looked_at(page, axe, tmp_path / f"{name}-turn.png")
    assert visit.wrong == []
    await context.close()


@pytest.mark.long
async def test_retrievals_are_shown_with_scores_and_tools_with_results(visit: Visit, stack: Stack) -> None:
    page = await opened(visit, stack, DEMO)
    await ask(page, "Do you deliver to 80202?")
    await ended(page)
    assert await page.locator(".frame.kb_retrieval meter").count() > 0
    assert await page.locator(".answer .chip").count() > 0
    await ask(page, "Where is order 1042?")
    await page.locator(".frame.tool_result").wait_for()
    assert "1042" in await page.locator(".frame.tool_call .gist").first.inner_text()


@pytest.mark.long
async def test_a_turn_is_cancelled(visit: Visit, stack: Stack) -> None:
    page = await opened(visit, stack, await stack.publish("scripted/tokens=2000,delay=30,text=echo"))
    await ask(page, "hello")
    await page.locator(".frame.delta").first.wait_for()
    await page.get_by_role("button", name="Cancel the turn").click()
    await ended(page)
    assert "cancelled" in await page.locator(".frame.done .gist").inner_text()
    await page.locator(".answer").get_by_text("Cancelled.").wait_for()
    assert visit.wrong == []


@pytest.mark.long
async def test_the_draft_is_tried_too(visit: Visit, stack: Stack, client: Client) -> None:
    config = {"name": "Only a draft", "model": {"name": "scripted/tokens=3,text=echo"}}
    _, made = await client.call("POST", "/agents", config)
    page = await opened(visit, stack, made["data"]["id"])
    assert await page.get_by_label("Version").input_value() == "draft"
    await ask(page, "hello")
    await ended(page)
    assert "draft" in await page.locator(".session").inner_text()


@pytest.mark.long
async def test_the_copied_requests_work_as_pasted(visit: Visit, stack: Stack, tmp_path: Path) -> None:
    question = 'It\'s "quoted", $HOME, `ls` and \\n: 80202?'
    await visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await opened(visit, stack, await stack.publish("scripted/tokens=9,text=echo"))
    await ask(page, question)
    await ended(page)
    key, answer = stack.facts["secretKey"], await page.locator(".answer").inner_text()
    for language, program in (("curl", "bash"), ("Python", "python"), ("TypeScript", "node")):
        await page.get_by_role("button", name=language, exact=True).click()
        await page.get_by_role("button", name="Copied").wait_for()
        code = await page.evaluate("navigator.clipboard.readText()")
        assert key not in code
        await page.get_by_role("button", name=language, exact=True).wait_for()
        if program == "node":
            required_program("node", "nodejs")
            # Types are all that Node does not run: this snippet's only one is the `!` of the body.
            (tmp_path / "pasted.mjs").write_text(code.replace("body!", "body"))
            printed = await run(f"export PARLEY_KEY={key}; node pasted.mjs", "bash", stack, tmp_path)
        elif program == "python":
            printed = await run(f"import os; os.environ['PARLEY_KEY'] = {key!r}\n{code}", "python", stack, tmp_path)
        else:
            printed = await run(f"export PARLEY_KEY={key}\n{code}", "bash", stack, tmp_path)
        assert "done" in printed, printed
        assert answer.split()[-1] in printed
    assert os.environ.get("PARLEY_KEY") is None


async def test_a_wrong_key_is_told_and_kept_nowhere(visit: Visit) -> None:
    visit.expected = {401}
    page = await visit.open("/playground")
    wrong = "parley_sk_test_" + "x" * 43
    await page.get_by_label("Secret key").fill(wrong)
    await page.get_by_role("button", name="Use this key").click()
    assert "invalid_api_key" in await page.get_by_role("alert").inner_text()
    stored = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state])"
    assert wrong not in await page.evaluate(stored)
    assert visit.wrong == []


async def all_refuse(callers: list[Client]) -> bool:
    return {(await caller.call("GET", "/agents?limit=1"))[0] for caller in callers} == {401}


@pytest.mark.long
async def test_a_key_that_is_revoked_meanwhile_ends_the_page(
    visit: Visit, stack: Stack, client: Client, clients: list[Client]
) -> None:
    visit.expected = {401}
    _, made = await client.call("POST", "/keys", {"scopes": ["chat:read", "chat:write", "agents:read"]})
    page = await opened(visit, stack, await stack.publish("scripted/tokens=3,text=echo"), made["data"]["secret"])
    await ask(page, "hello")
    await ended(page)
    await client.call("DELETE", f"/keys/{made['data']['id']}")
    callers = [Client(gateway.http, gateway.base_url, made["data"]["secret"]) for gateway in clients]
    await eventually(lambda: all_refuse(callers), within_s=5, what="the end of the key")
    await ask(page, "hello again")
    await page.get_by_text("revoked or has expired").wait_for()
    assert await page.get_by_label("Secret key").input_value() == ""


@pytest.mark.long
async def test_a_key_that_may_only_chat_sees_published_agents(visit: Visit, stack: Stack, client: Client) -> None:
    visit.expected = {403}
    _, made = await client.call("POST", "/keys", {"scopes": ["chat:read", "chat:write"]})
    page = await opened(visit, stack, DEMO, made["data"]["secret"])
    assert await page.get_by_label("Version").inner_text() == "published"
    await ask(page, "What are your hours?")
    await ended(page)


@pytest.mark.long
async def test_an_agent_that_vanishes_is_told(visit: Visit, stack: Stack, client: Client) -> None:
    visit.expected = {404}
    agent_id = await stack.publish("scripted/tokens=3,text=echo")
    page = await opened(visit, stack, agent_id)
    await client.call("DELETE", f"/agents/{agent_id}")
    await ask(page, "hello")
    assert "agent_not_found" in await page.get_by_role("alert").inner_text()
    assert visit.wrong == []


@pytest.mark.long
async def test_a_turn_that_fails_is_told_with_its_code(visit: Visit, stack: Stack) -> None:
    page = await opened(visit, stack, await stack.publish("scripted/tokens=9,fail=cut,after=3"))
    await ask(page, "hello")
    await page.locator(".frame.error").wait_for()
    assert "upstream_error" in await page.locator(".answer").inner_text()
    assert visit.wrong == []


@pytest.mark.long
async def test_a_line_that_breaks_is_told_and_the_rest_is_read_by_another(
    context: BrowserContext, stack: Stack, client: Client
) -> None:
    async with CutLine(stack.facts["baseUrl"]) as line:
        visit = Visit(context, line.url)
        page = await opened(visit, stack, await stack.publish(SLOW))
        await ask(page, "hello")
        await page.locator(".frame.delta").first.wait_for()
        line.cut()
        await page.get_by_text("The stream is cut.").wait_for()
        await context.set_offline(True)
        await page.get_by_role("button", name="Resume").click()
        await page.get_by_role("alert").get_by_text("The gateway did not answer.").wait_for()
        await context.set_offline(False)
        await page.get_by_role("button", name="Resume").click()
        await ended(page)
        (_, answer) = await client.messages(await page.locator(".session code").inner_text())
        assert (await page.locator(".answer").inner_text()).split() == str(answer["content"]).split()


@pytest.mark.long
async def test_markup_in_every_field_stays_text(visit: Visit, stack: Stack, client: Client) -> None:
    run_it = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    config = {"name": run_it, "model": {"name": "scripted/tokens=400,text=echo"}}
    _, made = await client.call("POST", "/agents", config)
    page = await opened(visit, stack, made["data"]["id"])
    for text in [run_it, *hostile_texts()[:8]]:
        await ask(page, text)
        await ended(page)
    assert await page.evaluate("window.ran") is None
    assert await page.locator("#parley :is(img, script, iframe, object, embed, style, link, base, meta)").count() == 0
    assert visit.wrong == []


async def test_the_page_without_scripts_says_what_it_needs(browser: Browser, stack: Stack) -> None:
    context = await browser.new_context(java_script_enabled=False)
    visit = Visit(context, stack.facts["baseUrl"])
    for path in ("/playground", "/console"):
        page = await visit.open(path)
        assert "needs JavaScript" in await page.locator("noscript").inner_text()
    await context.close()
