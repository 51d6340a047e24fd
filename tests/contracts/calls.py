"""All calls of history with the bodies that go there and come back. `test_calls.py` compares them with both sides."""

from typing import Final

from tests.contracts.bodies import BOOLEAN, INTEGER, STRING, either, listed, members, one, optional, page
from tests.contracts.reading import Row

_API: Final = "services.history.api"
_W: Final = "/workspaces/{workspace}"
_AGENT: Final = _W + "/agents/{agent_id}"
_VERSION: Final = _AGENT + "/versions/{number}"
_WIDGET: Final = _AGENT + "/widget"
_DRAFT: Final = _W + "/drafts/{agent_id}"
_CHECKS: Final = _DRAFT + "/checks"
_SOURCE: Final = _DRAFT + "/sources/{source_id}"
_BUILD: Final = _W + "/index-builds/{key}"
_VECTORS: Final = "/vectors/{space}"
_SESSION: Final = _W + "/sessions/{session_id}"
_TURN: Final = _W + "/turns/{turn_id}"
_KEY: Final = _W + "/keys/{key_id}"
_ERASURES: Final = _W + "/end-user-erasures"
_BUDGET: Final = _W + "/budgets/{subject}"
_HOOK: Final = _W + "/webhooks/{webhook_id}"

_RECORD: Final = either("key_records:PublishableKeyRecord", "key_records:KeyRecord")
_HELD: Final = members(held=BOOLEAN)

# Models whose writers do not leave out what is null: all members are written, or those that were given.
NULLS: Final = {"usage:UsageRow": "written", "agent_records:Change": "written", "key_records:ChangeKey": "given"}

_WORKSPACES: Final = (
    Row("POST", "/workspaces", one("workspaces:NewWorkspace"), one("workspaces:Workspace")),
    Row("GET", "/workspaces", None, page(one("workspaces:Workspace"))),
    Row("GET", _W, None, one("workspaces:Workspace")),
    Row("PATCH", _W, one("workspaces:ChangeWorkspace"), one("workspaces:Workspace")),
    Row("DELETE", _W, None, one("workspaces:Workspace")),
)
_KEYS: Final = (
    Row("POST", "/keys", one("keys:StoreKey"), members(id=STRING)),
    Row("POST", "/keys/resolve", one(f"{_API}.keys:Digest"), one("keys:Principal")),
    Row("POST", "/keys/resolve-id", one(f"{_API}.keys:KeyName"), one("keys:Principal")),
    Row("GET", f"{_W}/keys", None, page(one("key_records:KeyRecord"))),
    Row("GET", f"{_AGENT}/publishable-keys", None, page(one("key_records:PublishableKeyRecord"))),
    Row("GET", _KEY, None, _RECORD),
    Row("POST", f"{_KEY}/rotate", one("key_records:RotateKey"), _RECORD),
    Row("PATCH", _KEY, one("key_records:ChangeKey"), _RECORD),
    Row("DELETE", _KEY),
)
_AGENTS: Final = (
    Row("GET", f"{_W}/agents", None, page(one("agents:Agent"))),
    Row("GET", f"{_W}/resolved-model", None, members(agentId=STRING, version=INTEGER)),
    Row("PUT", _AGENT, one("agents:AgentConfig"), one("agents:Agent")),
    Row("GET", _AGENT, None, one("agents:Agent")),
    Row("POST", f"{_AGENT}/publish", one(f"{_API}.agents:Publication"), one("agents:AgentVersion")),
    Row("GET", _VERSION, None, one("agents:AgentVersion")),
    Row("GET", f"{_VERSION}/passages", None, listed(one("agents:Passage"))),
    Row("GET", f"{_VERSION}/sources", None, listed(one("knowledge:VersionSource"))),
    Row("GET", f"{_VERSION}/sources/{{source_id}}/text", None, one("knowledge:SourceText")),
)
_DRAFTS: Final = (
    Row("POST", f"{_W}/drafts", one("agent_records:NewAgent"), one("agent_records:AgentRecord")),
    Row("GET", f"{_W}/drafts", None, page(one("agent_records:AgentRecord"))),
    Row("GET", _DRAFT, None, one("agent_records:AgentRecord")),
    Row("PATCH", _DRAFT, one("agent_records:DraftPatch"), one("agent_records:AgentRecord")),
    Row("DELETE", _DRAFT, one(f"{_API}.drafts:Actor")),
    Row("POST", f"{_DRAFT}/publish", one("agent_records:PublishOrder"), one("agent_records:VersionRecord")),
    Row("POST", f"{_DRAFT}/rollback", one("agent_records:RollbackOrder"), one("agent_records:VersionRecord")),
    Row("GET", f"{_DRAFT}/versions", None, page(one("agent_records:VersionRecord"))),
    Row("GET", f"{_DRAFT}/versions/{{number}}", None, one("agent_records:VersionRecord")),
    Row("GET", f"{_DRAFT}/versions/{{number}}/diff", None, listed(one("agent_records:Change"))),
    Row("GET", f"{_W}/audit", None, page(one("agent_records:AuditRecord"))),
    Row("GET", _WIDGET, None, one("widget:WidgetRecord")),
    Row("PUT", _WIDGET, one(f"{_API}.widget:PutWidget"), one("widget:WidgetRecord")),
    Row("POST", f"{_WIDGET}/identity-secrets", one("widget:NewIdentitySecret"), one("widget:WidgetRecord")),
    Row("DELETE", f"{_WIDGET}/identity-secrets/{{secret_id}}"),
    Row("POST", f"{_WIDGET}/identity", one(f"{_API}.widget:IdentityToken"), one("widget:Identity")),
    Row("GET", _CHECKS, None, one("checks:StoredChecks")),
    Row("PUT", _CHECKS, one("checks:PutChecks"), one("checks:StoredChecks")),
    Row("POST", f"{_CHECKS}/runs", one("checks:RunChecks"), one("checks:CheckRun")),
    Row("GET", f"{_CHECKS}/runs", None, page(one("checks:CheckRun"))),
    Row("GET", f"{_CHECKS}/runs/{{run_id}}", None, one("checks:CheckRun")),
)
_KNOWLEDGE: Final = (
    Row("GET", f"{_AGENT}/knowledge/gaps", None, one("gaps:KnowledgeGaps")),
    Row("POST", f"{_DRAFT}/sources", one("knowledge:NewSource"), one("knowledge:Source")),
    Row("GET", f"{_DRAFT}/sources", None, page(one("knowledge:Source"), counts=one("knowledge:SourceCounts"))),
    Row("GET", _SOURCE, None, one("knowledge:Source")),
    Row("PATCH", _SOURCE, one("knowledge:SourcePatch"), one("knowledge:Source")),
    Row("DELETE", _SOURCE, one(f"{_API}.knowledge:Deletion")),
    Row("POST", f"{_SOURCE}/retry", None, one("knowledge:Source")),
    Row("PUT", f"{_SOURCE}/content", None, one("knowledge:StoredContent")),
    Row("POST", "/ingest/claims", one(f"{_API}.knowledge:ClaimSource"), optional(one("knowledge:IngestJob"))),
    Row("GET", f"{_W}/ingest/{{source_id}}/content"),
    Row("POST", "/ingest/{source_id}/renew", one("knowledge:IngestProgress"), _HELD),
    Row("POST", "/ingest/{source_id}/passages", one("knowledge:IngestedPassages"), _HELD),
    Row("POST", "/ingest/{source_id}/finish", one("knowledge:IngestOutcome"), _HELD),
    Row("GET", f"{_VERSION}/knowledge", None, one("indexes:VersionKnowledge")),
    Row("PUT", f"{_VERSION}/indexes/{{part}}", None, one("indexes:IndexPart")),
    Row("GET", f"{_W}/indexes/{{key}}/{{part}}"),
    Row("POST", "/indexes/current", one("indexes:LookUpSets"), one("indexes:CurrentSets")),
    Row("POST", "/index-builds/claims", one(f"{_API}.indexes:ClaimIndex"), optional(one("indexes:IndexJob"))),
    Row("POST", f"{_BUILD}/renew", one("indexes:IndexLease"), _HELD),
    Row("POST", f"{_BUILD}/finish", one("indexes:IndexOutcome"), _HELD),
    Row("POST", _VERSION + _VECTORS, one("vectors:BeginVectors"), one("vectors:VectorBuild")),
    Row("POST", f"{_VERSION}{_VECTORS}/rows", one("vectors:VectorBatch")),
    Row("POST", f"{_W}/indexes/{{key}}{_VECTORS}/search", one("vectors:SearchVectors"), one("vectors:NearPassages")),
    Row("DELETE", f"{_W}/indexes/{{key}}{_VECTORS}"),
)
_SESSIONS: Final = (
    Row("POST", f"{_W}/sessions", one("services.history.sessions.sessions:NewSession"), one("sessions:Session")),
    Row("GET", f"{_W}/sessions", None, page(one("sessions:Session"))),
    Row("GET", f"{_W}/client-session", None, one("sessions:Session")),
    Row("GET", _SESSION, None, one("sessions:Session")),
    Row("POST", f"{_SESSION}/end", one(f"{_API}.sessions:Ending"), one("sessions:Session")),
    Row("DELETE", _SESSION),
    Row("GET", f"{_SESSION}/messages", None, page(one("sessions:TurnMessage"))),
    Row("GET", f"{_SESSION}/turns", None, one("session_turns:SessionTurns")),
    Row("GET", f"{_SESSION}/branch", None, one("session_turns:SessionTurns")),
    Row(
        "POST", "/sessions/states", one(f"{_API}.sessions:SessionNames"), listed(optional(one("sessions:SessionState")))
    ),
    Row("POST", f"{_SESSION}/feedback", one("feedback:GiveFeedback"), one("feedback:Feedback")),
    Row("GET", f"{_W}/feedback", None, page(one("feedback:Feedback"))),
)
_TURNS: Final = (
    Row("POST", f"{_W}/turns", one("turns:AdmitTurn"), one("turns:AdmittedTurn")),
    Row("GET", _TURN, None, one("turns:StoredTurn")),
    Row("DELETE", _TURN),
    Row("POST", f"{_TURN}/cancel", None, one("turns:Turn")),
    Row("POST", "/turns/states", one(f"{_API}.turns:TurnNames"), listed(optional(one("turns:Turn")))),
    Row("POST", f"{_TURN}/claim", one("turns:ClaimTurn"), one("turns:ClaimedTurn")),
    Row("POST", f"{_TURN}/attempts", one("turns:StartAttempt"), one("turns:StartedAttempt")),
    Row("POST", f"{_TURN}/release", one(f"{_API}.claims:Spend")),
    Row("POST", f"{_TURN}/uses", one(f"{_API}.claims:Spend")),
    Row("POST", f"{_TURN}/calls", one(f"{_API}.claims:StartCall"), members(recorded=BOOLEAN)),
    Row("GET", f"{_W}/completions", None, page(one("turns:StoredTurn"))),
    Row("POST", f"{_W}/completions/{{turn_id}}", one(f"{_API}.completions:Labels"), one("turns:StoredTurn")),
    Row("DELETE", f"{_W}/completions/{{turn_id}}"),
)
_PEOPLE: Final = (
    Row("POST", _ERASURES, one("end_users:EraseEndUser"), one("end_users:EndUserErasure")),
    Row("GET", _ERASURES, None, page(one("end_users:EndUserErasure"))),
    Row("GET", f"{_ERASURES}/{{erasure_id}}", None, one("end_users:EndUserErasure")),
    Row("GET", f"{_W}/end-user-completions", None, page(one("turns:StoredTurn"))),
    Row("POST", f"{_W}/end-user-exports", one(f"{_API}.end_users:Export")),
)
_USAGE: Final = (
    Row("GET", f"{_W}/usage", None, page(one("usage:UsageRow"), pending=optional(one("usage:UsagePending")))),
    Row("GET", f"{_W}/budgets", None, page(one("budgets:Budget"))),
    Row("GET", _BUDGET, None, one("budgets:Budget")),
    Row("PUT", _BUDGET, one("budgets:StoreBudget"), one("budgets:Budget")),
    Row("DELETE", _BUDGET),
)
_WEBHOOKS: Final = (
    Row("POST", f"{_W}/webhooks", one("webhooks:StoreWebhook"), one("webhooks:NewWebhook")),
    Row("GET", f"{_W}/webhooks", None, page(one("webhooks:Webhook"))),
    Row("GET", _HOOK, None, one("webhooks:Webhook")),
    Row("PATCH", _HOOK, one("webhooks:ChangeWebhook"), one("webhooks:Webhook")),
    Row("DELETE", _HOOK),
    Row("POST", f"{_HOOK}/rotate-secret", one("webhooks:RotateWebhook"), one("webhooks:NewWebhook")),
    Row("POST", f"{_HOOK}/test", None, one("webhooks:Delivery")),
    Row("GET", f"{_HOOK}/deliveries", None, page(one("webhooks:Delivery"))),
    Row("POST", f"{_HOOK}/replay", None, one("webhooks:Replayed")),
    Row("POST", f"{_HOOK}/deliveries/{{event_id}}/replay", None, one("webhooks:Replayed")),
)
CALLS: Final = (
    *_WORKSPACES,
    *_KEYS,
    *_AGENTS,
    *_DRAFTS,
    *_KNOWLEDGE,
    *_SESSIONS,
    *_TURNS,
    *_PEOPLE,
    *_USAGE,
    *_WEBHOOKS,
)
