"""Examples of request bodies, by the name of their model. A test parses each one, and asks for one of each model."""

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
