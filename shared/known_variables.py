"""The names of all `PARLEY_*` variables. Any other name is refused at start: it is misspelt, or was removed.

Every process may be given the variables of every other (compose passes one file to all), so the list holds them all.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from shared.nearest_name import nearest_name

PREFIX: Final = "PARLEY_"

# `tests/unit/deploy/test_reference.py` compares this list with the fields of the settings classes.
SETTINGS: Final = frozenset(
    """
    BODY_LIMIT BOOTSTRAP_KEY BOOTSTRAP_WORKSPACE CHECKS_CONCURRENCY CHECKS_JUDGE_MODEL CHECKS_JUDGE_UPSTREAM
    CHECK_RUNS_KEEP_S CANCEL_ON_DISCONNECT COMPLETION_KEEP_S CONSOLE DRAIN_S FAILED_AUTH_PER_MINUTE HISTORY_URL HOST
    INGEST_CONCURRENCY INGEST_CPU_S INGEST_LEASE_S INGEST_MEMORY_BYTES INTERNAL_TOKEN INTERNAL_TLS_CA
    INTERNAL_TLS_CERT INTERNAL_TLS_KEY INTERNAL_TOKEN_BEFORE
    EMBEDDINGS_API_KEY EMBEDDINGS_BASE_URL EMBEDDINGS_MODEL QDRANT_API_KEY QDRANT_URL
    REDACTION_ON_FAILURE REDACTION_SECRET REDACTION_TIMEOUT_S REDACTION_URL RERANK_API_KEY RERANK_MODEL RERANK_URL
    KEY_CACHE_S KNOWLEDGE_CACHE_BYTES KNOWLEDGE_DIR LEASE_S LOG_KEEP_S LOG_LEVEL MAX_TRIES MAX_TURNS MODEL_API_KEY
    MODEL_BASE_URL MODEL_CONNECT_TIMEOUT_S MODEL_FIRST_TOKEN_TIMEOUT_S MODEL_TOKEN_TIMEOUT_S MODEL_TRIES
    MONGODB_DATABASE MONGODB_DRIVER MONGODB_URI MONGODB_VECTORS OTLP_URL PORT PRICES_FILE PRIVATE_PORT PUBLIC_URL
    OVERVIEW_URLS QUEUE_REDIS_URL QUEUE_TIMEOUT_S RECONCILE_INTERVAL_S REQUESTS_PER_MINUTE REUSE_PORT SECRETS_KEYS
    S3_ACCESS_KEY_ID S3_BUCKET S3_ENDPOINT S3_PREFIX S3_REGION S3_SECRET_ACCESS_KEY
    STREAMS_LIMIT STREAMS_PER_KEY STREAM_REDIS_URLS
    TOOL_ALLOW TOOL_PORTS TOOL_RESULT_BYTES TRANSCRIPT_SEARCH TRUSTED_PROXIES TURN_TIMEOUT_S UPSTREAMS UVLOOP
    PLAYGROUND QUEUE_AGE_LIMIT_S TURNS_PER_END_USER TURNS_PER_KEY
    VISITOR_REQUESTS_PER_MINUTE VISITOR_TOKEN_S VISITOR_TOKEN_SECRETS
    WEBHOOK_ALLOW WEBHOOK_DELIVERIES_KEEP_S WEBHOOK_DISABLE_AFTER_S WEBHOOK_GIVE_UP_S WEBHOOK_PORTS WEBHOOK_RETRY_S
    WEBHOOK_TIMEOUT_S UNCHALLENGED_VISITS_PER_MINUTE VISITS_PER_MINUTE
    """.split()
)
# Their values are secrets, or URLs that may hold a password. `NAME_FILE` names a file that has the value.
SECRETS: Final = frozenset(
    """
    BOOTSTRAP_KEY EMBEDDINGS_API_KEY INTERNAL_TOKEN INTERNAL_TOKEN_BEFORE MODEL_API_KEY MONGODB_URI QDRANT_API_KEY
    QUEUE_REDIS_URL
    REDACTION_SECRET RERANK_API_KEY S3_SECRET_ACCESS_KEY SECRETS_KEYS STREAM_REDIS_URLS VISITOR_TOKEN_SECRETS
    """.split()
)
FILE: Final = "_FILE"
# Read by `make up`, the demo model and `parley` alone.
COMMANDS: Final = frozenset("API_KEY CONFIG DEMO_DELAY_MS GATEWAYS HISTORIES MODEL PROFILE URL WORKERS".split())
# Read by the tests and chaos runs; a developer may have them in the shell that starts a stack.
_TESTS: Final = re.compile(r"(TEST|CHAOS)_\w+")

# Kubernetes gives each container the addresses of the services in its namespace. With services named `parley` or
# `parley-gateway` these begin with our prefix: PARLEY_SERVICE_HOST, PARLEY_PORT=tcp://…, PARLEY_PORT_8080_TCP_ADDR …
_KUBERNETES_NAME: Final = re.compile(
    r"(\w+_)?SERVICE_(HOST|PORT(_\w+)?)|(\w+_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
_KUBERNETES_PORT: Final = re.compile(r"(tcp|udp|sctp)://\S+")


def is_from_kubernetes(name: str, value: str) -> bool:
    """Whether this variable, named without the prefix, describes a Kubernetes service and no setting."""
    return bool(_KUBERNETES_NAME.fullmatch(name)) or (name.endswith("PORT") and bool(_KUBERNETES_PORT.fullmatch(value)))


def own_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Our variables by their names without the prefix."""
    named = {name.removeprefix(PREFIX): value for name, value in environment.items() if name.startswith(PREFIX)}
    return {name: value for name, value in named.items() if not is_from_kubernetes(name, value)}


def complaints(names: Iterable[str]) -> list[str]:
    """One line for each name that nothing reads, with the nearest one that exists."""
    known = SETTINGS | COMMANDS | {name + FILE for name in SECRETS}
    unknown = sorted(name for name in names if name not in known and not _TESTS.fullmatch(name))
    return [_complaint(name, nearest_name(name, known)) for name in unknown]


def _complaint(name: str, nearest: str | None) -> str:
    hint = f"; did you mean {PREFIX}{nearest}?" if nearest else ""
    return f"{PREFIX}{name} is not a variable of Parley{hint}"
