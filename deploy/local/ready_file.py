"""The ready file: what tests, benchmarks and chaos runs need to know of a running stack."""

from typing import Any

from deploy.demo.agent import AGENT_ID, WORKSPACE
from deploy.local.stack import Stack
from deploy.local.supervisor import Supervisor


def facts(stack: Stack, supervisor: Supervisor, secret: str) -> dict[str, Any]:
    pids = supervisor.pids
    return {
        "baseUrl": stack.base_url,
        "gateways": stack.gateway_urls,
        "secretKey": secret,
        "agentId": AGENT_ID,
        "workspace": WORKSPACE,
        "pids": {
            **{group: pids(group) for group in ("gateway", "worker", "ingest", "history")},
            **{group: next(iter(pids(group)), None) for group in ("redis", "mongodb", "model")},
        },
        "redisUrl": stack.redis_url,
        "mongodbUri": stack.mongodb_uri,
        "historyUrls": stack.history_urls,
        "internalToken": stack.internal_token,
        "modelUrl": stack.model_url,
        "metrics": {
            "gateway": [f"{url}/metrics" for url in stack.gateway_urls],
            "worker": [f"{url}/metrics" for url in stack.worker_urls],
            "ingest": [f"{stack.ingest_url}/metrics"],
            "history": [f"{url}/metrics" for url in stack.history_urls],
        },
    }
