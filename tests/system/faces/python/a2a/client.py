"""The official client of A2A. It takes steps one after the other, and prints what each of them was told.

Runs in a virtual environment of its own. Messages are parsed strictly: the SDK itself ignores what it does not know.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import a2a.client.transports.jsonrpc as rpc_transport  # type: ignore[import-not-found]
import a2a.client.transports.rest as rest_transport  # type: ignore[import-not-found]
import httpx
from a2a.client.card_resolver import A2ACardResolver  # type: ignore[import-not-found]
from a2a.client.client import ClientConfig  # type: ignore[import-not-found]
from a2a.client.client_factory import ClientFactory  # type: ignore[import-not-found]
from a2a.types import a2a_pb2 as pb  # type: ignore[import-not-found]
from google.protobuf.json_format import MessageToDict, Parse, ParseDict  # type: ignore[import-untyped]

CONFIG: dict[str, Any] = json.load(sys.stdin)


def strict(value: Any, message: Any) -> Any:
    return Parse(value, message) if isinstance(value, str) else ParseDict(value, message)


rpc_transport.parse_lenient = strict
rest_transport.parse_lenient = strict


class Known:
    """The ids that steps refer to as `$task` and `$context`."""

    def __init__(self) -> None:
        self.task = ""
        self.context = ""

    def note(self, event: dict[str, Any]) -> None:
        found = event.get("task") or event
        self.task = found.get("id") or found.get("taskId") or self.task
        self.context = found.get("contextId") or self.context

    def filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.filled(each) for name, each in value.items()}
        return {"$task": self.task, "$context": self.context}.get(value, value) if isinstance(value, str) else value


def said(**document: Any) -> None:
    print(json.dumps(document), flush=True)


async def one(result: Any) -> AsyncIterator[Any]:
    yield await result


def events_of(client: Any, step: dict[str, Any]) -> AsyncIterator[Any]:
    given = step.get("params", {})
    match step["do"]:
        case "send" | "stream":
            request = ParseDict(given, pb.SendMessageRequest())
            client._config.streaming = step["do"] == "stream"
            return client.send_message(request)  # type: ignore[no-any-return]
        case "get":
            return one(client.get_task(ParseDict(given, pb.GetTaskRequest())))
        case "list":
            return one(client.list_tasks(ParseDict(given, pb.ListTasksRequest())))
        case "cancel":
            return one(client.cancel_task(ParseDict(given, pb.CancelTaskRequest())))
        case "subscribe":
            client._config.streaming = True
            return client.subscribe(ParseDict(given, pb.SubscribeToTaskRequest()))  # type: ignore[no-any-return]
    raise ValueError(step["do"])


async def take(client: Any, number: int, step: dict[str, Any], known: Known) -> None:
    try:
        async for event in events_of(client, known.filled(step)):
            told = MessageToDict(event)
            if step["do"] != "list":
                known.note(told)
            said(step=number, event=told)
        said(step=number, end=True)
    except Exception as error:
        data = getattr(error, "data", None)
        said(step=number, error=type(error).__name__, message=str(error), data=data)


async def main() -> None:
    headers = {"Authorization": f"Bearer {CONFIG['key']}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        card = await A2ACardResolver(http, CONFIG["url"]).get_agent_card()
        said(card=MessageToDict(card))
        for interface in card.supported_interfaces:
            interface.url = CONFIG["url"]
        config = ClientConfig(httpx_client=http, supported_protocol_bindings=[CONFIG["binding"]])
        client, known = ClientFactory(config).create(card), Known()
        for number, step in enumerate(CONFIG["steps"]):
            await take(client, number, step, known)


asyncio.run(main())
