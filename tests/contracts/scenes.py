"""What clients do while a release is recorded: each noun and each way that a turn can go, in few and short messages.

The scenes ask for nothing that the oldest release to be recorded does not have. A release adds scenes for what it
brought.
"""

import asyncio
import signal
from typing import Any, Final

from shared.contracts.keys import NewKey, Scope, StoreKey, digest_of, new_secret
from shared.history_client import HistoryClient
from shared.ids import new_id
from tests.conftest import eventually
from tests.contracts.rig import Rig
from tests.system.stack import Client, Transcript, read_to_end

WORKSPACE: Final = "acme"
GUIDE: Final = "# Aqua 300\n\n## Cleaning\n\nRinse the blue filter every 17 days.\n\n## Warranty\n\nIt lasts 7 years.\n"
FORM: Final = {"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]}
CHECK: Final = {
    "name": "repeats the question",
    "steps": [{"user": "the pump is loud", "expect": [{"contains": "pump"}, {"finishReason": "stop"}]}],
}
VARIABLE: Final = {"greeting": "Hello {{plan}}!", "variables": {"plan": {"default": "free"}}}
ORDER: Final = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}


async def caller(rig: Rig, scopes: frozenset[str]) -> Client:
    """A key with those scopes of this release that the recorded one knows."""
    secret = new_secret("live")
    key = NewKey(workspace=WORKSPACE, name="recorded", scopes=frozenset(Scope(each) for each in scopes))
    order = StoreKey(**key.model_dump(), id=new_id("key"), digest=digest_of(secret))
    async with HistoryClient(rig.stack.history_urls, rig.stack.internal_token, timeout_s=15.0) as history:
        await history.create_workspace(WORKSPACE)
        await history._post("/keys", order.wire())
        await history.create_workspace("closed")
        await history.delete_workspace("closed")
    return Client(rig.http, rig.stack.gateway_urls[0], secret)


class Scenes:
    def __init__(self, rig: Rig, client: Client) -> None:
        self.rig = rig
        self.client = client
        self.agents: dict[str, str] = {}

    async def play(self) -> None:
        await self._agents()
        await self._turns()
        await self._tools()
        await self._completions()
        await self._lost_workers()
        await self._checks()
        await self._keys()
        await self._removals()

    async def get(self, path: str) -> Any:
        return await self.ok("GET", path)

    async def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer's `data`, or all of it where it has none."""
        status, answer = await self.client.call(method, path, body, **headers)
        assert status < 300, (method, path, status, answer)
        return answer.get("data", answer) if isinstance(answer, dict) else answer

    async def agent(self, name: str, model: str, **config: Any) -> str:
        body = {"name": name, "instructions": "Be brief about {{agent.name}}.", "model": {"name": model}, **config}
        made = await self.ok("POST", "/agents", body)
        self.agents[name] = made["id"]
        return str(made["id"])

    async def publish(self, name: str) -> None:
        agent = self.agents[name]
        number = (await self.ok("POST", f"/agents/{agent}/publish", {"note": "as recorded"}))["number"]
        await self.until(f"/agents/{agent}/versions/{number}", "state", "published", "failed")

    async def until(self, path: str, member: str, *values: str) -> Any:
        async def reached() -> bool:
            return (await self.get(path))[member] in values

        await eventually(reached, within_s=40.0, what=f"{member} of {path}")
        return await self.get(path)

    async def session(self, name: str, **members: Any) -> str:
        made = await self.ok("POST", "/chat/sessions", {"agentId": self.agents[name], **members})
        return str(made["id"])

    async def ask(self, session: str, content: str = "Hello?", **headers: str) -> Transcript:
        path = f"/chat/sessions/{session}/messages"
        async with self.client.request("POST", path, {"content": content, "stream": True}, **headers) as answer:
            assert answer.status == 200, await answer.text()
            return await read_to_end(answer, Transcript())

    async def post(self, session: str, content: str = "Hello?") -> str:
        """Without waiting for the answer: the turn's id."""
        body = {"content": content}
        return str(
            (await self.ok("POST", f"/chat/sessions/{session}/messages", body, Prefer="respond-async"))["turnId"]
        )

    async def started(self, session: str, turn: str) -> None:
        """On a busy host it may have ended as well."""
        await self.until(f"/chat/sessions/{session}/turns/{turn}", "status", "running", "completed")

    async def ended(self, session: str, turn: str) -> None:
        await self.until(f"/chat/sessions/{session}/turns/{turn}", "status", "completed", "cancelled", "failed")

    # --- scenes

    async def _agents(self) -> None:
        await self.agent("plain", "scripted/tokens=3,usage=full", **VARIABLE)
        await self.ok("PATCH", f"/agents/{self.agents['plain']}", {"description": "answers"})
        await self.publish("plain")
        await self.ok("PATCH", f"/agents/{self.agents['plain']}", {"instructions": "Be very brief."})
        await self.publish("plain")
        await self.agent("slow", "scripted/tokens=16,delay=100")
        await self.publish("slow")
        pump = await self.agent("pump", "demo/extractive", knowledge={"topK": 2})
        sources = f"/agents/{pump}/knowledge/sources"
        text = await self.ok("POST", sources, {"kind": "text", "title": "Aqua 300", "text": GUIDE, "tags": ["a"]})
        faq = {"kind": "faq", "title": "FAQ", "pairs": [{"question": "Is it loud?", "answer": "Not at all."}]}
        asked = await self.ok("POST", sources, faq)
        for source in (text, asked):
            await self.until(f"{sources}/{source['id']}", "state", "indexed", "failed")
        await self.ok("PATCH", f"{sources}/{text['id']}", {"title": "Aqua 300 guide"})
        await self.publish("pump")
        await self.ok("DELETE", f"{sources}/{asked['id']}?purge=true")

    async def _turns(self) -> None:
        who = {"id": "u-1", "name": "Ada", "metadata": {"plan": "gold"}}
        session = await self.session("plain", metadata={"a": "b"}, endUser=who)
        await self.ask(session, "Hello?", **{"Idempotency-Key": "once"})
        await self.ask(session, "Hello?", **{"Idempotency-Key": "once"})
        turn = await self.post(session, "And now?")
        await self.ended(session, turn)
        assert (await self.ask(await self.session("pump"), "How often do I rinse the filter?")).end
        await self.ask(await self.session("pump"), "Who painted the ceiling of the chapel?")
        await self.agent("failing", "scripted/fail=500")
        await self.publish("failing")
        await self.ask(await self.session("failing"))
        slow = await self.session("slow")
        turn = await self.post(slow)
        await self.started(slow, turn)
        await self.ok("POST", f"/chat/sessions/{slow}/turns/{turn}/cancel", {})
        await self.ended(slow, turn)
        await self.ok("POST", f"/chat/sessions/{slow}/end", {})

    async def _tools(self) -> None:
        url = self.rig.stack.model_url
        secret = {"secretHeaders": {"Authorization": {"value": "Bearer recorded"}}}
        order = {"kind": "http", "name": "order", "url": f"{url}/tools/order_status", "parameters": ORDER, **secret}
        once = {"kind": "http", "name": "once", "url": f"{url}/tools/count", "parameters": ORDER, "retry": "never"}
        lead = {"kind": "builtin", "builtin": "collect", "name": "lead", "parameters": FORM}
        bye = {"kind": "builtin", "builtin": "end_session"}
        calls = 'tool=order:{"order_id":"1042"},tool=once:{"order_id":"7"},tool=lead:{"email":"a@b.example"}'
        await self.agent("tools", f"scripted/tokens=3,{calls},tool=end_session:{{}}", tools=[order, once, lead, bye])
        await self.publish("tools")
        await self.ask(await self.session("tools"), "Where is it?")

    async def _completions(self) -> None:
        body = {"model": self.agents["plain"], "messages": [{"role": "user", "content": "Hi"}], "user": "u-1"}
        await self.ok("POST", "/chat/completions", body)
        kept = await self.ok("POST", "/chat/completions", {**body, "store": True, "metadata": {"a": "b"}})
        await self.ok("GET", "/chat/completions?limit=5")
        await self.ok("POST", f"/chat/completions/{kept['id']}", {"metadata": {"a": "c"}})
        gone = await self.ok("POST", "/chat/completions", {**body, "store": True})
        await self.ok("DELETE", f"/chat/completions/{gone['id']}")
        tool = {"type": "function", "function": {"name": "weather", "parameters": ORDER}}
        await self.agent("caller", 'scripted/tokens=3,tool=weather:{"order_id":"1"}', greeting="Hi")
        await self.publish("caller")
        await self.ok("POST", "/chat/completions", {**body, "model": self.agents["caller"], "tools": [tool]})

    async def _lost_workers(self) -> None:
        for number in (signal.SIGKILL, signal.SIGTERM):
            session = await self.session("slow")
            turn = await self.post(session, number.name)
            await self.started(session, turn)
            await self.rig.restart("worker-1", number)
            await self.ended(session, turn)

    async def _checks(self) -> None:
        await self.agent("checked", "scripted/text=json")
        path = f"/agents/{self.agents['checked']}/checks"
        await self.ok("PUT", path, {"checks": [CHECK]})
        run = await self.ok("POST", f"{path}/run", {"draft": True})
        await self.until(f"{path}/runs/{run['id']}", "state", "passed", "failed", "error")

    async def _keys(self) -> None:
        made = await self.ok("POST", "/keys", {"label": "second", "scopes": ["chat:read"]})
        await self.ok("POST", f"/keys/{made['id']}/rotate", {"graceS": 3600})
        gone = await self.ok("POST", "/keys", {"label": "third", "scopes": ["chat:read"]})
        await self.ok("DELETE", f"/keys/{gone['id']}")
        path = f"/agents/{self.agents['plain']}/publishable-keys"
        page = await self.ok("POST", path, {"label": "page", "allowedOrigins": ["https://shop.example"]})
        await self.ok("PATCH", f"{path}/{page['id']}", {"rateLimitRpm": 60, "dailyTokens": 1000})

    async def _removals(self) -> None:
        session = await self.session("plain")
        await self.ask(session)
        await self.ok("DELETE", f"/chat/sessions/{session}")
        agent = await self.agent("gone", "scripted/tokens=3")
        await self.ok("DELETE", f"/agents/{agent}")
        await self.ok("POST", f"/agents/{self.agents['plain']}/rollback", {"version": 1})

    async def read_all(self) -> None:
        """Everything that can be read, once all is calm: what a later release must answer from the same documents."""
        sessions = await self.get("/chat/sessions?limit=50")
        for session in sessions:
            path = f"/chat/sessions/{session['id']}"
            for each in (path, f"{path}/messages?limit=50"):
                await self.get(each)
            turns = {row["turnId"] for row in await self.get(f"{path}/messages?limit=50")}
            await asyncio.gather(*(self.get(f"{path}/turns/{turn}") for turn in sorted(turns)))
        for agent in await self.get("/agents?limit=50"):
            path = f"/agents/{agent['id']}"
            below = ("", "/versions", "/checks", "/knowledge/sources", "/knowledge/gaps", "/publishable-keys")
            for each in below:
                await self.client.call("GET", path + each)
            for version in await self.get(f"{path}/versions"):
                await self.get(f"{path}/versions/{version['number']}")
        for path in ("/keys", "/audit?limit=100", "/chat/completions?limit=50", "/models"):
            await self.client.call("GET", path)
