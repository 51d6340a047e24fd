"""Drives one turn with the client that openapi-python-client made of the API document: post, cut, resume, read back.

The generated package is in the folder that the configuration names.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

import httpx

CONFIG: dict[str, Any] = json.load(sys.stdin)
sys.path.insert(0, CONFIG["package"])
import parley_client  # type: ignore[import-not-found,unused-ignore]  # noqa: E402
from parley_client import models  # noqa: E402
from parley_client.api.sessions import (  # type: ignore[import-not-found,unused-ignore]  # noqa: E402
    create_session,
    follow_turn,
    get_session,
    get_turn,
    list_session_messages,
    post_message,
)

# Every module of the generated client can be imported.
MODULES = [module.name for module in pkgutil.walk_packages(parley_client.__path__, "parley_client.")]
for name in MODULES:
    importlib.import_module(name)

CLIENT = parley_client.AuthenticatedClient(CONFIG["baseUrl"], token=CONFIG["apiKey"], timeout=httpx.Timeout(30))


class Reader:
    """Applies events by their generated types."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.text = self.turn_id = self.last_id = self.stored = ""

    def take(self, event: Any) -> None:
        self.seen.append(event.event)
        if event.id:
            self.last_id = event.id
        match event:
            case models.TurnQueuedEvent(data=data):
                self.turn_id = data.turn_id
            case models.TurnDeltaEvent(data=data):
                self.text += data.text
            case models.TurnRestartedEvent():
                self.text = ""
            case models.TurnDoneEvent(data=data):
                self.stored = "".join(message.content or "" for message in data.messages)
            case models.TurnErrorEvent(data=data):
                raise SystemExit(f"{data.code}: {data.detail}")


def events_of(response: httpx.Response) -> Iterator[Any]:
    """The stream's events, each of the generated type that its name says."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif "event" in fields:
            yield parsed(fields)
            fields = {}


def parsed(fields: dict[str, str]) -> Any:
    event = {"event": fields["event"], "data": json.loads(fields["data"])} | (
        {"id": fields["id"]} if "id" in fields else {}
    )
    words = "".join(word.capitalize() for word in event["event"].split("_"))
    return getattr(models, f"Turn{words}Event").from_dict(event)


def main() -> None:
    made = create_session.sync(client=CLIENT, body=models.CreateSession(agent_id=CONFIG["agentId"]))
    session_id, reader = made.data.id, Reader()
    http = CLIENT.get_httpx_client()
    body = models.PostMessage(content="hello", stream=True)
    with http.stream(**post_message._get_kwargs(session_id, body=body, idempotency_key="generated-client")) as response:
        for event in events_of(response):
            reader.take(event)
            if len(reader.text) >= CONFIG["cutAfter"]:
                break
    cut_at = reader.last_id
    with http.stream(**follow_turn._get_kwargs(session_id, reader.turn_id, last_event_id_header=cut_at)) as response:
        for event in events_of(response):
            reader.take(event)
    turn = get_turn.sync(session_id, reader.turn_id, client=CLIENT)
    page = list_session_messages.sync(session_id, client=CLIENT)
    absent = get_session.sync("ses_none", client=CLIENT)
    answer = {
        "modules": len(MODULES),
        "events": reader.seen,
        "text": reader.text,
        "cutAt": cut_at,
        "stored": reader.stored,
        "status": turn.data.status.value,
        "roles": [message.role.value for message in page.data],
        "problem": absent.code,
    }
    print(json.dumps(answer), flush=True)


main()
