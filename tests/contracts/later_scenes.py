"""Scenes of what v0.2.0 brought. A release before it cannot play them."""

from typing import Final

from tests.conftest import eventually
from tests.contracts.scenes import Scenes

PAGE: Final = "https://shop.example"
# Nothing listens there, so a delivery stays as it is after its first try.
RECEIVER: Final = "http://127.0.0.1:9/hook"


async def play_later(scenes: Scenes) -> None:
    await _webhooks(scenes)
    await _branches_and_feedback(scenes)
    await _budgets_and_usage(scenes)
    await _widget(scenes)
    await _source_texts(scenes)
    await _erasures(scenes)


async def _webhooks(scenes: Scenes) -> None:
    """The endpoint is disabled at the end: a release that takes over sends nothing, and the documents do not change."""
    events = ["session.created", "turn.completed", "agent.published"]
    made = await scenes.ok("POST", "/webhooks", {"url": RECEIVER, "events": events, "description": "recorded"})
    path = f"/webhooks/{made['id']}"
    await scenes.ask(await scenes.session("plain"), "Tell them")
    await scenes.ok("POST", f"{path}/rotate-secret", {"graceS": 3600})
    await scenes.ok("POST", f"{path}/test")

    async def were_tried() -> bool:
        deliveries = await scenes.get(f"{path}/deliveries")
        return len(deliveries) == 3 and any(each["attempts"] for each in deliveries)

    await eventually(were_tried, within_s=40.0, what="deliveries that were tried")
    await scenes.ok("PATCH", path, {"enabled": False})
    await scenes.ok("GET", "/webhooks")
    gone = await scenes.ok("POST", "/webhooks", {"url": RECEIVER, "events": ["turn.failed"]})
    await scenes.ok("DELETE", f"/webhooks/{gone['id']}")


async def _branches_and_feedback(scenes: Scenes) -> None:
    session = await scenes.session("plain")
    first = await scenes.post(session, "Which one?")
    await scenes.ended(session, first)
    path = f"/chat/sessions/{session}"
    again = await scenes.ok("POST", f"{path}/turns/{first}/regenerate", {"content": "Which of them?"})
    answer = next(row for row in await scenes.get(f"{path}/messages") if row["role"] == "assistant")
    rating = {"rating": "down", "comment": "too short"}
    await scenes.ok("POST", f"{path}/messages/{answer['id']}/feedback", rating)
    await scenes.ok("GET", "/chat/feedback?rating=down")
    await scenes.ok("GET", f"{path}/messages?branches=all")
    assert again


async def _budgets_and_usage(scenes: Scenes) -> None:
    """Their answers depend on the day, so they are no part of what is read at the end."""
    subject = f"/budgets/agent:{scenes.agents['plain']}"
    await scenes.ok("PUT", "/budgets/workspace", {"month": {"tokens": 1_000_000}})
    await scenes.ok("PUT", subject, {"day": {"cost": 5.5}, "month": {"tokens": 0}})
    await scenes.ok("DELETE", subject)
    await scenes.ok("GET", "/budgets")
    for grouping in ("agent", "model", "day"):
        await scenes.ok("GET", f"/usage?groupBy={grouping}")


async def _widget(scenes: Scenes) -> None:
    agent = f"/agents/{scenes.agents['plain']}"
    settings = {"title": "Ask us", "greeting": {"de": "Hallo!"}, "theme": {"mode": "dark"}, "challenge": "off"}
    await scenes.ok("PUT", f"{agent}/widget", settings)
    await scenes.ok("POST", f"{agent}/widget/identity-secrets", {})
    key = await scenes.ok("POST", f"{agent}/publishable-keys", {"label": "widget", "allowedOrigins": [PAGE]})
    page = {"Origin": PAGE, "Authorization": f"Bearer {key['secret']}"}
    await scenes.ok("GET", "/chat/widget/config", **page)
    visit = await scenes.ok("POST", "/chat/widget/sessions", {"metadata": {"page": "start"}}, **page)
    assert visit["visitorToken"]


async def _source_texts(scenes: Scenes) -> None:
    agent = f"/agents/{scenes.agents['pump']}"
    source = (await scenes.get(f"{agent}/knowledge/sources"))[0]["id"]
    await scenes.ok("GET", f"{agent}/versions/1/diff?against=0")
    await scenes.ok("GET", f"{agent}/knowledge/sources/{source}")


async def _erasures(scenes: Scenes) -> None:
    session = await scenes.session("plain", endUser={"id": "u-gone"})
    await scenes.ask(session)
    async with scenes.client.request("GET", "/end-users/u-1/export") as answer:
        assert answer.status == 200
        assert (await answer.read()).splitlines()
    await scenes.ok("DELETE", "/end-users/u-gone")

    async def is_gone() -> bool:
        return (await scenes.client.call("GET", f"/chat/sessions/{session}"))[0] == 404

    await eventually(is_gone, within_s=40.0, what="a session that is erased")
    await scenes.ok("GET", "/end-user-erasures")


async def read_later(scenes: Scenes) -> None:
    """What a later release must answer from the same documents."""
    for path in ("/webhooks", "/chat/feedback"):
        await scenes.get(path)
    await scenes.get(f"/agents/{scenes.agents['plain']}/widget")
