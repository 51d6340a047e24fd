"""Loaded by Schemathesis: generated bodies name an agent that exists, so that they get further than its absence."""

import os
from typing import Any

import schemathesis

AGENT_ID = os.environ.get("PARLEY_TEST_AGENT_ID", "")


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if isinstance(body, dict):
        return {
            name: AGENT_ID if name in ("model", "agentId") and isinstance(value, str) else value
            for name, value in body.items()
        }
    return body
