"""The console in a real Chromium: an agent from its making to its use, and what else a workspace has."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from shared.contracts.guardrails import PatternsGuardrail
from shared.contracts.tools import HttpTool
from tests.conftest import eventually
from tests.system.browser.hostile import hostile_texts
from tests.system.browser.looks import LOOKS, looked_at
from tests.system.browser.visit import Visit
from tests.system.stack import Client, Stack

EXTRACTIVE = "demo/extractive"
# Sources are read and indexed by a process that yields to all others.
READ_MS = 60_000
# A name that points inwards: deliveries are refused at once, without a server.
REFUSED = "https://localhost/hook"
FACT = "Mars: we deliver to Mars on Tuesdays. The rocket leaves at noon."


@pytest.fixture
def visit(context: BrowserContext, stack: Stack) -> Visit:
    return Visit(context, stack.facts["baseUrl"])


async def opened(visit: Visit, stack: Stack, *place: str) -> Page:
    page = await visit.open_with_key("/console#/" + "/".join(place), stack.facts["secretKey"])
    await page.locator("nav.parts").wait_for()
    return page


async def made(client: Client, **config: Any) -> str:
    status, answer = await client.call("POST", "/agents", {"name": "An agent", "model": {"name": EXTRACTIVE}, **config})
    assert status == 201, answer
    return str(answer["data"]["id"])


async def tab(page: Page, name: str) -> None:
    await page.get_by_role("navigation", name="Parts of the agent").get_by_role("link", name=name).click()


async def test_an_agent_is_made_fed_published_and_tried(visit: Visit, stack: Stack, axe: str, tmp_path: Path) -> None:
    page = await opened(visit, stack, "agents")
    form = page.locator("form", has_text="New agent")
    await form.get_by_label("Name").fill("Interplanetary desk")
    await form.get_by_label("Model").fill(EXTRACTIVE)
    await form.get_by_label("Instructions").fill("Answer from the passages.")
    await form.get_by_role("button", name="Create the agent").click()
    await page.get_by_role("heading", name="Interplanetary desk").wait_for()

    await tab(page, "Knowledge")
    await page.get_by_label("From", exact=True).select_option("text")
    await page.get_by_label("Title").fill("Deliveries")
    await page.get_by_label("Text", exact=True).fill(FACT)
    await page.get_by_role("button", name="Add the source").click()
    await page.locator("td .state", has_text="indexed").wait_for(timeout=READ_MS)

    await tab(page, "Versions")
    await page.get_by_label("Note").fill("The first one")
    await page.get_by_role("button", name="Publish", exact=True).click()
    await page.locator("td .state", has_text="published").wait_for(timeout=READ_MS)
    await page.get_by_text("version 1 is published").wait_for()

    await tab(page, "Try")
    await page.get_by_label("Message").fill("Do you deliver to Mars?")
    await page.get_by_role("button", name="Send").click()
    await page.get_by_text("The stream has ended.").wait_for()
    assert "Tuesdays" in await page.locator(".answer").inner_text()
    assert await page.locator(".frame.kb_retrieval meter").count() == 1
    await looked_at(page, axe, tmp_path / "console.png")
    assert visit.wrong == []


@pytest.mark.long
@pytest.mark.parametrize("name", LOOKS)
async def test_axe_finds_nothing_in_the_console(
    browser: Browser, stack: Stack, client: Client, axe: str, tmp_path: Path, name: str
) -> None:
    context = await browser.new_context(locale="en-GB", **LOOKS[name])
    visit = Visit(context, stack.facts["baseUrl"])
    agent_id = await stack.publish(EXTRACTIVE)
    session_id = await client.session(agent_id)
    await client.ask(session_id, "Do you deliver to Mars?")
    _, hook = await client.call("POST", "/webhooks", {"url": REFUSED, "events": ["session.ended"]})
    places = {
        "agents": "Agents",
        f"agents/{agent_id}": "Draft",
        f"agents/{agent_id}/versions": "Versions",
        f"agents/{agent_id}/knowledge": "Gaps",
        "sessions": "Sessions",
        f"sessions/{session_id}": "Session",
        f"agents/{agent_id}/checks": "The suite",
        f"agents/{agent_id}/keys": "Browser keys",
        "keys": "Keys",
        "webhooks": "Webhooks",
        f"webhooks/{hook['data']['id']}": "Webhook",
        "usage": "Usage",
        "budgets": "Budgets",
    }
    page = await opened(visit, stack)
    for place, heading in places.items():
        await page.evaluate("place => { location.hash = '#/' + place; }", place)
        await page.get_by_role("heading", name=heading, exact=True).wait_for()
        await page.get_by_text("Loading …").first.wait_for(state="hidden")
        await looked_at(page, axe, tmp_path / f"{name}-{place.replace('/', '-')}.png")
    assert visit.wrong == []
    await context.close()


@pytest.mark.long
async def test_a_draft_is_edited_and_its_faults_are_told_by_field(visit: Visit, stack: Stack, client: Client) -> None:
    visit.expected = {422}
    agent_id = await made(client)
    page = await opened(visit, stack, "agents", agent_id)
    await page.get_by_label("Name", exact=True).fill("")
    await page.get_by_role("button", name="Save the draft").click()
    assert "name" in await page.get_by_role("alert").inner_text()
    await page.get_by_label("Name", exact=True).fill("Renamed")
    await page.get_by_text("All other settings, as JSON").click()
    await page.get_by_label("Other settings").fill("{not JSON")
    await page.get_by_role("button", name="Save the draft").click()
    await page.get_by_text("are not valid JSON").wait_for()
    await page.get_by_label("Other settings").fill('{"knowledge": {"topK": 2}}')
    await page.get_by_role("button", name="Save the draft").click()
    await page.get_by_role("heading", name="Renamed").wait_for()
    _, answer = await client.call("GET", f"/agents/{agent_id}")
    assert (answer["data"]["name"], answer["data"]["draft"]["knowledge"]["topK"]) == ("Renamed", 2)
    assert visit.wrong == []


@pytest.mark.long
async def test_another_editors_change_is_not_overwritten(visit: Visit, stack: Stack, client: Client) -> None:
    visit.expected = {409}
    agent_id = await made(client)
    page = await opened(visit, stack, "agents", agent_id)
    await page.get_by_label("Instructions").fill("Mine")
    await client.call("PATCH", f"/agents/{agent_id}", {"instructions": "Theirs"})
    await page.get_by_role("button", name="Save the draft").click()
    assert "version_conflict" in await page.get_by_role("alert").inner_text()
    _, answer = await client.call("GET", f"/agents/{agent_id}")
    assert answer["data"]["draft"]["instructions"] == "Theirs"


@pytest.mark.long
async def test_versions_are_compared_and_rolled_back(visit: Visit, stack: Stack, client: Client) -> None:
    agent_id = await made(client, instructions="Be brief.")
    await client.call("POST", f"/agents/{agent_id}/publish")
    page = await opened(visit, stack, "agents", agent_id, "versions")
    await page.locator("td .state", has_text="published").wait_for()
    await client.call("PATCH", f"/agents/{agent_id}", {"instructions": "Be long."})
    await page.get_by_role("button", name="Publish", exact=True).click()
    await page.get_by_text("version 2 is published").wait_for()
    await page.get_by_role("button", name="Compare version 2 with the draft").click()
    await page.get_by_text("Nothing differs.").wait_for()
    await page.get_by_label("Compared with").select_option("1")
    changed = page.locator("tr", has_text="instructions")
    assert "Be brief." in await changed.locator(".after").inner_text()
    await page.get_by_role("button", name="Use version 1").click()
    await page.get_by_role("button", name="Use version 1").last.click()
    await page.get_by_text("version 1 is published").wait_for()
    assert visit.wrong == []


@pytest.mark.long
async def test_a_file_is_uploaded_previewed_and_deleted(
    visit: Visit, stack: Stack, client: Client, tmp_path: Path
) -> None:
    visit.expected = {415, 422}
    agent_id = await made(client)
    page = await opened(visit, stack, "agents", agent_id, "knowledge")
    await page.get_by_role("button", name="Add the source").click()
    await page.get_by_text("Choose a file first.").wait_for()
    (tmp_path / "mars.md").write_text(f"# Mars\n\n{FACT}\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    await page.get_by_label("File").set_input_files(tmp_path / "picture.png")
    await page.get_by_role("button", name="Add the source").click()
    await page.get_by_role("alert").wait_for()
    await page.get_by_label("File").set_input_files(tmp_path / "mars.md")
    await page.get_by_role("button", name="Add the source").click()
    await page.locator("td .state", has_text="indexed").wait_for()
    await page.get_by_label("Question", exact=True).fill("When does the rocket leave?")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("region", name="Passages").get_by_text("noon").wait_for()
    row = page.locator("tr", has_text="indexed")
    await row.get_by_role("button", name="Delete").click()
    await row.get_by_role("button", name="Delete").click()
    await page.get_by_text("No source yet.").wait_for()


@pytest.mark.long
async def test_a_transcript_grows_while_the_turn_runs(visit: Visit, stack: Stack, client: Client) -> None:
    agent_id = await stack.publish("scripted/tokens=150,delay=30,text=echo")
    session_id = await client.session(agent_id)
    page = await opened(visit, stack, "sessions", session_id)
    await page.get_by_text("Nothing was said yet.").wait_for()
    headers = {"Prefer": "respond-async"}
    await client.call("POST", f"/chat/sessions/{session_id}/messages", {"content": "hello"}, **headers)
    await page.locator(".question", has_text="hello").wait_for()
    await page.locator(".answer[aria-busy=true] p:not(.aside)").wait_for()
    await page.locator(".answer[aria-busy=false]").wait_for()
    await page.get_by_role("button", name="End the session").click()
    await page.get_by_role("button", name="End the session").last.click()
    await page.get_by_text("The session has ended.").wait_for()
    assert visit.wrong == []


@pytest.mark.long
async def test_a_session_tells_what_the_agent_did_in_each_turn(
    visit: Visit, stack: Stack, client: Client, axe: str, tmp_path: Path
) -> None:
    session_id = await client.session(stack.facts["agentId"])
    await client.ask(session_id, "Do you deliver to 80202?")
    await client.ask(session_id, "Where is order 1042?")
    answer = next(each for each in await client.messages(session_id) if each["role"] == "assistant")
    rated = {"rating": "down", "comment": "The <i>wrong</i> postcode"}
    await client.call("POST", f"/chat/sessions/{session_id}/messages/{answer['id']}/feedback", rated)
    page = await opened(visit, stack, "sessions", session_id)
    await page.locator(".facts", has_text="demo/extractive").wait_for()
    first, second = (page.locator("details.told").nth(number) for number in (0, 1))

    line = first.locator(":scope > summary")
    await line.filter(has_text="rated down").wait_for()
    for word in ("completed", "version 1", "first token", "in all", "tokens", "4 passages"):
        assert word in await line.inner_text()
    assert "attempt" not in await line.inner_text()
    await line.focus()
    await page.keyboard.press("Enter")
    assert "The <i>wrong</i> postcode" in await first.locator(".comment").inner_text()
    assert "Delivery: Area" in await first.get_by_role("group", name="Citations").inner_text()
    passage = first.locator("details", has_text="Delivery: Area")
    assert await passage.get_by_role("meter").count() == 1
    await passage.locator("summary").click()
    await passage.get_by_text("To 80206 and 80209 we deliver").wait_for()

    await second.locator(":scope > summary", has_text="1 tool call").click()
    await second.locator("summary", has_text="order_status").click()
    await second.locator("pre", has_text='"order_id": "1042"').wait_for()
    await second.locator("pre", has_text='"etaMinutes": 12').wait_for()
    await looked_at(page, axe, tmp_path / "session.png")
    await page.set_viewport_size({"width": 390, "height": 800})
    await page.emulate_media(color_scheme="dark")
    await looked_at(page, axe, tmp_path / "session-narrow-dark.png")
    assert visit.wrong == []


@pytest.mark.long
async def test_long_and_hostile_texts_of_tools_are_cut_and_stay_text(
    visit: Visit, stack: Stack, client: Client
) -> None:
    said = "<img src=x onerror=window.ran=1>" + "x" * 700 + "the end"
    model = f'scripted/tokens=4,tool=order_status:{{"order_id":"{said}","big":12345678901234567890}}'
    order = HttpTool(kind="http", name="order_status", url=stack.facts["modelUrl"] + "/tools/order_status")
    session_id = await client.session(await stack.publish(model, tools=(order,)))
    page = await opened(visit, stack, "sessions", session_id)
    await page.get_by_text("Nothing was said yet.").wait_for()
    await client.ask(session_id, "Where is it?")
    # It is told of a turn that ends while somebody looks, too.
    await page.locator("details.told > summary").click()
    await page.locator("details.step > summary").click()
    asked = page.locator("details.step pre").first
    assert (await asked.inner_text()).endswith("…")
    await page.get_by_role("button", name="Show all").first.click()
    assert "the end" in await asked.inner_text()
    assert "12345678901234567890" in await asked.inner_text()
    await page.get_by_role("button", name="Show less").click()
    assert "the end" not in await asked.inner_text()
    assert await page.locator("#parley img").count() == 0
    assert visit.wrong == []


@pytest.mark.long
async def test_a_session_tells_why_a_turn_failed_and_which_guardrail_acted(
    visit: Visit, stack: Stack, client: Client
) -> None:
    rail = PatternsGuardrail(kind="patterns", name="secrets", stage="input", patterns=("hush",))
    session_id = await client.session(await stack.publish("scripted/fail=400", guardrails=(rail,)))
    for text in ("hush", "hello"):
        await client.ask(session_id, text)
    page = await opened(visit, stack, "sessions", session_id)
    guarded, failed = (page.locator("details.told").nth(number) for number in (0, 1))
    await guarded.locator("summary", has_text="a guardrail acted").click()
    await guarded.get_by_text("secrets: block at input").wait_for()
    await failed.locator("summary", has_text="failed").click()
    _, stored = await client.call("GET", f"/chat/sessions/{session_id}/events?stored=true")
    error = stored["data"][1]["turn"]["error"]
    assert f"{error['detail']} {error['code']}" == await failed.locator(".bad:not(summary *)").inner_text()
    assert visit.wrong == []


@pytest.mark.long
async def test_sessions_are_found_by_words_that_were_said(visit: Visit, stack: Stack, client: Client) -> None:
    session_id = await client.session(await stack.publish("scripted/tokens=3,text=fixed"))
    await client.ask(session_id, "a zeppelinesque question")
    page = await opened(visit, stack, "sessions")
    await page.get_by_label("Words that were said").fill("zeppelinesque")
    link = page.get_by_role("link", name=session_id)
    # The words of a turn are stored with its end; the list may be asked for once more.
    for _ in range(20):
        await page.get_by_role("button", name="Search").click()
        if await link.count():
            break
    await link.click()
    await page.locator(".question", has_text="zeppelinesque").wait_for()


@pytest.mark.long
async def test_a_key_is_shown_once_and_revoked(visit: Visit, stack: Stack, client: Client) -> None:
    page = await opened(visit, stack, "keys")
    await page.get_by_label("Label").fill("from the console")
    await page.get_by_role("button", name="Create the key").click()
    secret = await page.locator(".secret code").inner_text()
    status, _ = await Client(client.http, client.base_url, secret).call("GET", "/models")
    assert status == 200
    await page.reload()
    await page.get_by_label("Secret key").fill(stack.facts["secretKey"])
    await page.get_by_role("button", name="Use this key").click()
    row = page.locator("tr", has_text="from the console")
    await row.wait_for()
    assert secret not in await page.content()
    await row.get_by_role("button", name="Revoke").click()
    await row.get_by_role("button", name="Revoke").click()
    await row.wait_for(state="detached")
    assert visit.wrong == []


@pytest.mark.long
async def test_a_webhook_is_made_tested_and_a_dead_letter_sent_again(
    visit: Visit, stack: Stack, client: Client
) -> None:
    visit.expected = {422}
    page = await opened(visit, stack, "webhooks")
    await page.get_by_label("Address").fill("http://shop.example/hook")
    await page.get_by_role("button", name="Create the webhook").click()
    assert "https" in await page.get_by_role("alert").inner_text()
    await page.get_by_label("Address").fill(REFUSED)
    await page.get_by_label("Description").fill("of the console")
    await page.get_by_label("session.ended").check()
    await page.get_by_role("button", name="Create the webhook").click()
    assert (await page.locator(".secret code").inner_text()).startswith("whsec_")
    await page.locator("tr", has_text="of the console").get_by_role("link").click()
    await page.get_by_role("button", name="Send a test event").click()
    row = page.locator("tr", has_text="webhook.test")
    dead = row.locator(".state", has_text="dead")

    async def is_dead() -> bool:
        """It is tried within a second; the list shows it when it is read again."""
        await page.get_by_role("button", name="Look again").click()
        await row.wait_for()
        return await dead.count() > 0

    await eventually(is_dead, within_s=20.0, what="a dead letter")
    assert "not public" in await row.inner_text()
    await page.get_by_role("button", name="Send dead letters again").click()
    await page.get_by_role("status").get_by_text("1 sent again.").wait_for()
    await page.get_by_role("button", name="Disable it").click()
    await page.locator(".state", has_text="disabled").wait_for()
    await page.get_by_role("button", name="Replace the secret").click()
    await page.get_by_role("button", name="Replace the secret").last.click()
    assert (await page.locator(".secret code").inner_text()).startswith("whsec_")
    await page.get_by_role("button", name="Delete it").click()
    await page.get_by_role("button", name="Delete it").last.click()
    await page.get_by_role("heading", name="Webhooks", exact=True).wait_for()
    _, answer = await client.call("GET", "/webhooks?limit=200")
    assert "of the console" not in [each["description"] for each in answer["data"]]
    assert visit.wrong == []


@pytest.mark.long
async def test_a_browser_key_is_made_for_its_sites_and_revoked(visit: Visit, stack: Stack, client: Client) -> None:
    visit.expected = {422}
    agent_id = await made(client)
    page = await opened(visit, stack, "agents", agent_id, "keys")
    await page.get_by_text("No browser key yet.").wait_for()
    await page.get_by_label("Label").fill("of the shop")
    await page.get_by_label("Sites").fill("shop.example")
    await page.get_by_role("button", name="Create the browser key").click()
    assert "allowedOrigins" in await page.get_by_role("alert").inner_text()
    await page.get_by_label("Sites").fill("https://shop.example\nhttps://www.shop.example")
    await page.get_by_label("Tokens a day").fill("5000")
    await page.get_by_role("button", name="Create the browser key").click()
    assert (await page.locator(".secret code").inner_text()).startswith("parley_pk_")
    row = page.locator("tr", has_text="of the shop")
    assert "https://www.shop.example" in await row.inner_text()
    assert "5,000" in await row.inner_text()
    await row.get_by_role("button", name="Revoke").click()
    await row.get_by_role("button", name="Revoke").click()
    await page.get_by_text("No browser key yet.").wait_for()
    assert visit.wrong == []


@pytest.mark.long
async def test_a_budget_is_set_seen_and_removed(visit: Visit, stack: Stack, client: Client) -> None:
    visit.expected = {422}
    subject = f"agent:{await made(client)}"
    page = await opened(visit, stack, "budgets")
    await page.get_by_label("Budget of").select_option("agent")
    await page.get_by_label("Its id").fill(subject.removeprefix("agent:"))
    await page.get_by_role("button", name="Set the budget").click()
    await page.get_by_role("alert").wait_for()
    await page.get_by_label("Tokens a day").fill("5000")
    await page.get_by_label("Cost a month").fill("2.5")
    await page.get_by_role("button", name="Set the budget").click()
    row = page.locator("tr", has_text=subject)
    await row.get_by_text("0 of 5,000 tokens").wait_for()
    assert "0.00 of 2.50" in await row.inner_text()
    await row.get_by_role("button", name="Remove").click()
    await row.get_by_role("button", name="Remove").click()
    await row.wait_for(state="detached")
    assert visit.wrong == []


@pytest.mark.long
async def test_checks_are_saved_and_run_and_what_failed_is_told(visit: Visit, stack: Stack, client: Client) -> None:
    _, answer = await client.call("POST", "/agents", {"name": "Echo", "model": {"name": "scripted/text=json"}})
    page = await opened(visit, stack, "agents", answer["data"]["id"], "checks")
    suite = page.get_by_label("Checks, as JSON")
    await suite.fill("[no JSON")
    await page.get_by_role("button", name="Save the checks").click()
    await page.get_by_text("The checks are not valid JSON").wait_for()
    steps = '[{"user": "the pizza is hot", "expect": [{"contains": "%s"}]}]'
    checks = [f'{{"name": "about {word}", "steps": {steps % word}}}' for word in ("pizza", "wine")]
    await suite.fill(f"[{', '.join(checks)}]")
    await page.get_by_role("button", name="Save the checks").click()
    await page.get_by_role("button", name="Check the draft").click()
    results = page.get_by_role("region", name="Results of the run")
    await results.get_by_text('The answer does not contain "wine".').wait_for(timeout=READ_MS)
    await results.locator(".state", has_text="passed").wait_for()
    runs = page.get_by_role("region", name="Runs")
    await runs.locator(".state", has_text="failed").wait_for()
    assert visit.wrong == []


@pytest.mark.long
async def test_usage_is_drawn_and_told_as_numbers(visit: Visit, stack: Stack, client: Client) -> None:
    agent_id = await stack.publish("scripted/tokens=50,usage=full")
    await client.ask(await client.session(agent_id), "hello")
    page = await opened(visit, stack, "usage")
    await page.locator(".chart rect").first.wait_for(state="attached")
    assert await page.locator(".chart").first.locator("rect").count() == 30
    await page.get_by_role("region", name="Usage by agent").get_by_text("scripted/tokens=50").first.wait_for()
    await page.get_by_label("Group by").select_option("model")
    await page.get_by_role("region", name="Usage by model").wait_for()
    assert visit.wrong == []


@pytest.mark.long
async def test_a_key_with_few_scopes_is_told_which_one_is_missing(visit: Visit, stack: Stack, client: Client) -> None:
    visit.expected = {403}
    _, made_key = await client.call("POST", "/keys", {"scopes": ["chat:read"]})
    page = await visit.open_with_key("/console#/keys", made_key["data"]["secret"])
    assert "keys:write" in await page.get_by_role("alert").inner_text()
    await page.get_by_role("link", name="Sessions").click()
    await page.get_by_role("region", name="Sessions").wait_for()
    assert visit.wrong == []


@pytest.mark.long
async def test_an_empty_list_says_what_to_do_next(visit: Visit, stack: Stack, client: Client) -> None:
    agent_id = await made(client)
    page = await opened(visit, stack, "agents", agent_id)
    for name, says in {
        "Versions": "Nothing was published yet. Publish the draft above",
        "Knowledge": "No source yet. Add a document",
        "Checks": "No run yet. Save checks below",
        "Browser keys": "No browser key yet. Create one below",
    }.items():
        await tab(page, name)
        await page.get_by_text(says).wait_for()
    await page.evaluate("location.hash = '#/sessions'")
    await page.get_by_label("Words that were said").fill("nobody ever said quixotry")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_text("No session is like this. Search for less.").wait_for()
    assert visit.wrong == []


@pytest.mark.long
async def test_what_vanished_or_never_was_is_told(visit: Visit, stack: Stack, client: Client) -> None:
    visit.expected = {404}
    agent_id = await made(client)
    page = await opened(visit, stack, "agents", agent_id)
    await client.call("DELETE", f"/agents/{agent_id}")
    await page.get_by_label("Instructions").fill("Changed")
    await page.get_by_role("button", name="Save the draft").click()
    assert "agent_not_found" in await page.get_by_role("alert").inner_text()
    await page.goto(visit.base + "/console#/sessions/ses_%3Cimg%20src=x%3E")
    await page.get_by_text("session_not_found").first.wait_for()
    assert visit.wrong == []


@pytest.mark.long
async def test_markup_in_every_field_stays_text(visit: Visit, stack: Stack, client: Client) -> None:
    run_it = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    agent_id = await made(client, name=run_it, description=run_it, instructions=run_it, greeting=run_it)
    await client.call("POST", f"/agents/{agent_id}/publish", {"note": run_it})
    source = {"kind": "text", "title": run_it, "text": f"{run_it} {FACT}", "tags": ["a"]}
    await client.call("POST", f"/agents/{agent_id}/knowledge/sources", source)
    await client.call("POST", "/keys", {"scopes": ["chat:read"], "label": run_it[:60]})
    browser_key = {"allowedOrigins": ["https://shop.example"], "label": run_it[:60]}
    await client.call("POST", f"/agents/{agent_id}/publishable-keys", browser_key)
    await client.call("PUT", f"/agents/{agent_id}/checks", {"checks": [{"name": run_it, "steps": [{"user": run_it}]}]})
    await client.call("POST", "/webhooks", {"url": REFUSED, "events": ["session.ended"], "description": run_it})
    await client.call("PUT", f"/budgets/{quote(f'endUser:{run_it}', safe='')}", {"day": {"tokens": 5000}})
    person = {"id": run_it, "name": run_it}
    body = {"agentId": agent_id, "draftMode": True, "metadata": {"page": run_it}, "endUser": person}
    _, session = await client.call("POST", "/chat/sessions", body)
    for text in [run_it, *hostile_texts()[:6]]:
        await client.ask(session["data"]["id"], text)
    page = await opened(visit, stack, "agents")
    for place in (
        "agents",
        f"agents/{agent_id}",
        f"agents/{agent_id}/versions",
        f"agents/{agent_id}/knowledge",
        "sessions",
        f"sessions/{session['data']['id']}",
        f"agents/{agent_id}/keys",
        "keys",
        "webhooks",
        "budgets",
        "usage",
    ):
        await page.evaluate("place => { location.hash = '#/' + place; }", place)
        heading = page.get_by_role("heading", name="Usage", exact=True)
        await page.locator("#content", has_text="<img src=x").or_(heading).first.wait_for()
        found = page.locator("#parley :is(img, script, iframe, object, embed, style, link, base, meta)")
        assert await found.count() == 0, place
    assert await page.evaluate("window.ran") is None
    assert visit.wrong == []
