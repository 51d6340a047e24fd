"""Examples of request and response bodies, by the name of their model. A test parses each one.

Every request model needs one; of responses, those that most programs read have one.
"""

from typing import Any, Final

_AGENT: Final = "agt_01kb3c9w6n8r2t4v6x8z0b2d4c"

EXAMPLES: Final[dict[str, Any]] = {
    "CreateSession": {"agentId": _AGENT, "metadata": {"page": "pricing"}},
    "PostMessage": {"content": "How long do I have to send it back?", "stream": True},
    "Regenerate": {"content": "How long do I have to send shoes back?", "stream": True},
    "RateAnswer": {"rating": "down", "comment": "The price is from last year."},
    "CreateAgent": {
        "name": "Shop assistant",
        "instructions": "Answer questions about orders. Use only what you find in the knowledge.",
        "model": {"name": "gpt-4o-mini"},
        "knowledge": {"topK": 5},
    },
    "PatchAgent": {"instructions": "Answer in one sentence."},
    "Publish": {"note": "Shorter answers"},
    "Rollback": {"version": 3},
    "AddSource": {"kind": "text", "title": "Returns", "text": "You have 30 days to send an article back."},
    "ChangeSource": {"title": "Returns and refunds", "tags": ["shop"]},
    "PreviewKnowledge": {"query": "How long do I have to send it back?", "topK": 5},
    "CreateKey": {"label": "shop backend", "scopes": ["chat:read", "chat:write"], "environment": "live"},
    "CreatePublishableKey": {"label": "shop", "allowedOrigins": ["https://shop.example"]},
    "ChangePublishableKey": {"allowedOrigins": ["https://shop.example", "https://www.shop.example"]},
    "ChangeSecretKey": {"label": "monthly reports", "weight": 2},
    "RotateSecret": {"graceS": 3600},
    "StartVisit": {"resume": True},
    "WidgetSettings": {"title": "Ask us", "defaultLocale": "en"},
    "PutBudget": {"day": {"tokens": 1_000_000}},
    "CreateWebhook": {"url": "https://shop.example/parley", "events": ["turn.completed", "turn.failed"]},
    "PatchWebhook": {"enabled": True},
    "RotateWebhookSecret": {"graceS": 86_400},
    "CheckSuite": {"checks": []},
    "RunRequest": {"draft": True},
    "ChatCompletion": {"model": _AGENT, "messages": [{"role": "user", "content": "Hello"}], "stream": True},
    "UpdateCompletion": {"metadata": {"ticket": "4711"}},
}

_KEY: Final = "key_01kb3c9w6n8r2t4v6x8z0b2d4d"
_NOW: Final = "2026-11-27T10:00:00.000Z"
REPLY_EXAMPLES: Final[dict[str, Any]] = {
    "Session": {
        "id": "ses_01kb3c9w6n8r2t4v6x8z0b2d4a",
        "agentId": _AGENT,
        "agentVersion": 3,
        "status": "active",
        "metadata": {"page": "pricing"},
        "turnCount": 1,
        "createdAt": _NOW,
        "lastMessageAt": _NOW,
    },
    "Turn": {
        "id": "trn_01kb3c9w6n8r2t4v6x8z0b2d4b",
        "sessionId": "ses_01kb3c9w6n8r2t4v6x8z0b2d4a",
        "status": "completed",
        "attempt": 1,
        "agentId": _AGENT,
        "agentVersion": 3,
        "finishReason": "stop",
        "usage": {"promptTokens": 421, "completionTokens": 12, "totalTokens": 433},
        "timing": {"queuedMs": 3, "firstTokenMs": 240, "totalMs": 910},
        "createdAt": _NOW,
        "endedAt": "2026-11-27T10:00:01.000Z",
    },
    "AgentRecord": {
        "id": _AGENT,
        "slug": "shop-assistant",
        "name": "Shop assistant",
        "revision": 7,
        "publishedVersion": 3,
        "latestVersion": 3,
        "draft": EXAMPLES["CreateAgent"],
        "createdAt": _NOW,
        "updatedAt": _NOW,
    },
    "VersionRecord": {
        "number": 3,
        "state": "published",
        "note": "Shorter answers",
        "passageCount": 118,
        "createdBy": _KEY,
        "createdAt": _NOW,
        "publishedAt": _NOW,
    },
    "Source": {
        "id": "src_01kb3c9w6n8r2t4v6x8z0b2d4e",
        "agentId": _AGENT,
        "kind": "text",
        "title": "Returns",
        "state": "indexed",
        "tags": ["shop"],
        "passages": 1,
        "createdAt": _NOW,
        "updatedAt": _NOW,
        "indexedAt": _NOW,
    },
    "UsageRow": {
        "group": "2026-11-27",
        "turns": 120,
        "promptTokens": 50_400,
        "completionTokens": 9_800,
        "totalTokens": 60_200,
        "cachedTokens": 12_000,
        "reasoningTokens": 0,
        "estimatedTokens": 0,
        "cost": 0.21,
        "unpricedTokens": 0,
        "currency": "USD",
    },
}
