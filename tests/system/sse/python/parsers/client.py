"""Reads the same turn once per address with httpx-sse or requests-sse, in a virtual environment of its own.

Prints for each address what the client's user got.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import requests  # type: ignore[import-untyped,unused-ignore]
from httpx_sse import connect_sse  # type: ignore[import-not-found,unused-ignore]
from requests_sse import EventSource  # type: ignore[import-not-found,unused-ignore]

CONFIG: dict[str, Any] = json.load(sys.stdin)
AUTHORIZATION = {"Authorization": f"Bearer {CONFIG['apiKey']}"}
ATTEMPTS = 5


class Reader:
    """The user of a client: joins the text and stops at the terminal frame."""

    def __init__(self) -> None:
        self.text = ""
        self.stored: str | None = None
        self.opened = 0

    def take(self, event: str | None, data: str | None) -> bool:
        frame = json.loads(data or "{}")
        if event == "restarted":
            self.text = ""
        if event == "delta":
            self.text += frame["text"]
        if event == "done":
            self.stored = "".join(message["content"] or "" for message in frame["messages"])
        return event in ("done", "error")


def with_httpx_sse(url: str, reader: Reader) -> None:
    """It leaves reconnecting to its user, who keeps the id of the last event."""
    last_id = ""
    for _ in range(ATTEMPTS):
        headers = AUTHORIZATION | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with connect_sse(HTTP, "GET", url, headers=headers) as source:
                reader.opened += 1
                for event in source.iter_sse():
                    last_id = event.id or last_id
                    if reader.take(event.event, event.data):
                        return
        except httpx.TransportError:
            continue


def with_requests_sse(url: str, reader: Reader) -> None:
    def opened() -> None:
        reader.opened += 1

    pause = timedelta(milliseconds=1)
    source = EventSource(url, headers=AUTHORIZATION, reconnection_time=pause, on_open=opened, timeout=10.0)
    with source:
        for event in source:
            if reader.take(event.type, event.data):
                return


CLIENTS = {"httpx-sse": with_httpx_sse, "requests-sse": with_requests_sse}
HTTP = httpx.Client(trust_env=False)


def read(url: str) -> dict[str, Any]:
    reader = Reader()
    answer: dict[str, Any] = {"url": url}
    try:
        CLIENTS[CONFIG["client"]](url, reader)
    except (httpx.HTTPError, requests.RequestException, ValueError) as error:
        answer["error"] = repr(error)
    return answer | {"text": reader.text, "stored": reader.stored, "opened": reader.opened}


with ThreadPoolExecutor(CONFIG["parallel"]) as threads:
    for answer in threads.map(read, CONFIG["urls"]):
        print(json.dumps(answer), flush=True)
