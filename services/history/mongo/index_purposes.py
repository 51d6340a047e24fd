"""What each index serves, by collection and name: a rule of the data, queries, or both. `make reference` prints it."""

from typing import Final

_AUDIT: Final = "reconciler: audit entries that are not written yet"
_EVENTS: Final = "webhooks: events that no delivery was made for yet"

PURPOSES: Final[dict[str, dict[str, str]]] = {
    "sessions": {
        "workspace_1__id_1": "lists of a workspace's sessions in order of their ids; erasure of a workspace",
        "workspace_1_status_1__id_1": "lists of active or ended sessions",
        "workspace_1_agentId_1__id_1": "lists of an agent's sessions; ending the sessions of a deleted agent",
        "workspace_1_agentId_1_agentVersion_1__id_1": "lists of the sessions of one agent version",
        "session_metadata": "lists and searches by a label, the rarest one where several are asked for",
        "session_end_user": "lists of an end user's sessions; erasure and export of an end user",
        "client_id": "rule: one session per `client_id` of an agent; finds it again when its creation is repeated",
        "active_of_agent": "ends the active sessions of a deleted agent",
        "last_messages": "retention: sessions of an agent by the time of their last message",
        "without_messages": "retention: sessions of an agent without any message, by their age",
        "erasing_1": "reconciler: sessions whose erasure is under way",
        "unaudited": _AUDIT,
        "unsent": _EVENTS,
    },
    "turns": {
        "one_active_turn_per_session": "rule: one active turn per session",
        "turn_number": "rule: one number per turn of a session; reads transcripts in order",
        "idempotency_key": "rule: one turn per idempotency key and scope; finds it when a request is repeated",
        "retry_key": "retry guard: recent turns with the same question, newest first",
        "one_orphan_per_retry_key": "rule: one abandoned turn per question that a retry may take over",
        "stored_completions": "lists of stored completions",
        "stored_completions_of_agent": "lists and retention of an agent's stored completions",
        "knowledge_gaps": "lists of what an agent's knowledge did not answer",
        "feedback": "lists of feedback",
        "transcript_words": "searches of transcripts by their rarest word, in the order of sessions",
        "unindexed_1": "reconciler: turns of earlier releases whose words are not stored yet",
        "completion_end_user": "lists of an end user's completions; erasure and export of an end user",
        "active_1__id_1": "reconciler: active turns, oldest first, without a job, late, or cancelled",
        "unaudited": _AUDIT,
        "erasable_1_endedAt_1": "reconciler: completions that are not stored, whose texts are erased after their end",
        "unbilled_by_age": "usage ledger: ended turns that it does not have yet, oldest first",
        "unbilled_of_workspace": "usage reports: the same of one workspace",
        "expiresAt_1": "MongoDB deletes the remains of an erased completion at `expiresAt`",
        "unsent": _EVENTS,
    },
    "agents": {
        "workspace_1_agentId_1": "lists of a workspace's agents",
        "slug": "rule: one agent per slug of a workspace",
        "create_key": "rule: one agent per idempotency key of its creation",
        "endingSessions_1": "reconciler: deleted agents whose sessions are still to be ended",
        "unaudited": _AUDIT,
        "unsent": _EVENTS,
    },
    "agent_versions": {
        "agent_1_number_1": "rule: one version per number of an agent; lists of versions",
        "publish_key": "rule: one version per idempotency key of its publishing",
        "preparing_1_createdAt_1": "reconciler: publishings that are not complete, oldest first",
        "holders_of_sources": "versions that hold a source, when its content is erased",
    },
    "check_suites": {
        "unaudited": _AUDIT,
    },
    "check_runs": {
        "workspace_1_agentId_1__id_1": "lists of an agent's check runs",
        "workspace_1_agentId_1_version_1__id_1": "the runs of one agent version; the last one before a publishing",
        "run_key": "rule: one run per idempotency key",
        "active_of_workspace": "the active runs of a workspace, which are limited",
        "active_1__id_1": "reconciler: active runs, oldest first",
        "expiresAt_1": "MongoDB deletes a run at `expiresAt`",
    },
    "audit": {
        "workspace_1__id_1": "lists of a workspace's audit entries, newest first",
    },
    "passages": {
        "version_1_position_1": "rule: one passage per place of a version; reads a version's passages in order",
    },
    "keys": {
        "digest_1": "rule: one key per digest; authenticates a request",
        "old_digest": "rule and look-up of a rotated key's old digest while that is valid",
        "workspace_1_agentId_1__id_1": "lists of keys of a workspace or agent",
        "unaudited": _AUDIT,
    },
    "workspaces": {
        "deleting_1": "reconciler: workspaces whose deletion is under way",
        "unaudited": _AUDIT,
    },
    "budgets": {
        "workspace_1__id_1": "the budgets of a workspace",
        "removed_1": "reconciler: removed budgets whose counters are still to be removed",
        "unaudited": _AUDIT,
        "unsent": _EVENTS,
    },
    "end_user_erasures": {
        "workspace_1__id_1": "lists of a workspace's erasures of end users",
        "one_erasure_at_a_time": "rule: one erasure of an end user at a time",
        "running_1": "reconciler: erasures under way",
        "unaudited": _AUDIT,
    },
    "erased_logs": {
        "dueAt_1": "reconciler: run logs to be erased again, by due time",
    },
    "sources": {
        "workspace_1_agentId_1__id_1": "lists of an agent's sources",
        "one_source_per_content": "rule: one source per content of an agent",
        "waiting_1_dueAt_1": "ingest queue: sources that wait to be read, by due time",
        "erasing_1": "reconciler: sources whose erasure is under way",
        "refreshing_1_refreshAt_1": "reconciler: sources to be read again, by due time",
        "unaudited": _AUDIT,
        "unsent": _EVENTS,
    },
    "indexes": {
        "agent_1": "search indexes of an agent, when those that no version needs are removed",
        "key_1": "the search index of one set of sources",
        "workspace_1_blobs_1": "whether any search index still needs a blob",
        "waiting_1_dueAt_1": "ingest queue: search indexes to be built, by due time",
        "erasing_1": "reconciler: search indexes whose erasure is under way",
    },
    "webhooks": {
        "workspace_1__id_1": "lists of a workspace's endpoints",
        "unaudited": _AUDIT,
    },
    "webhook_deliveries": {
        "workspace_1_endpoint_1_eventId_1": "lists of an endpoint's deliveries",
        "workspace_1_endpoint_1_state_1_eventId_1": "lists of an endpoint's deliveries in one state, as dead letters",
        "lanes": "the first waiting delivery of a lane; putting off a whole lane",
        "queue": "sender: what is due, without endpoints that are busy or rest; what is due of one endpoint",
        "tests": "sender: test events for endpoints that rest",
        "expiresAt_1": "MongoDB deletes a delivery at `expiresAt`",
    },
    "vectors": {
        "workspace_1": "erasure of a workspace's vectors",
    },
}
