"""What a worker counts."""

from prometheus_client import Counter, Gauge, Histogram

TURNS = Counter("parley_turns_total", "Turns that this worker ended, without those of checks", ["status"])
TURN_SECONDS = Histogram(
    "parley_turn_seconds",
    "From claim to finish, without turns of checks",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
FIRST_TEXT_SECONDS = Histogram(
    "parley_first_text_seconds",
    "From claim to the first text, without turns of checks",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
TOKENS = Counter(
    "parley_tokens_total", "Tokens of ended turns by model server, without those of checks", ["upstream", "kind"]
)
MODEL_CALLS = Counter("parley_model_calls_total", "Model calls, with those of checks", ["upstream", "outcome"])
MODEL_CALL_SECONDS = Histogram(
    "parley_model_call_seconds",
    "Time of whole model calls, with those of checks; faults count too",
    ["upstream"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
RETRIEVAL_SECONDS = Histogram(
    "parley_retrieval_seconds",
    "Time of searches in agents' knowledge, with the wait for an index",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
INGEST_SECONDS = Histogram(
    "parley_ingest_seconds",
    "Time that an ingest worker spends on one source or one search index",
    ["queue"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900),
)
TAKE_OVERS = Counter(
    "parley_turns_taken_over_total", "Attempts that this worker started at turns which had an attempt before"
)
REQUEUES = Counter("parley_requeues_total", "Turns that this worker gave back to the queue", ["reason"])
FRAMES = Counter("parley_frames_total", "Frames that ended attempts have written, most of them deltas")
FRAME_BYTES = Counter("parley_frame_bytes_total", "Bytes of the frames that ended attempts have written")
TOOL_CALLS = Counter("parley_tool_calls_total", "Tool calls, with those of checks", ["status"])
MARKERS_REMOVED = Counter(
    "parley_markers_removed_total", "Markers of citations that named no passage and were removed from answers"
)
GUARDRAILS = Counter(
    "parley_guardrails_total",
    "Checks by agents' guardrails; failed_open and failed_closed: the guardrail came to no decision",
    ["stage", "outcome"],
)
WAITING = Gauge("parley_queue_waiting", "Jobs that wait")
OLDEST_SECONDS = Gauge(
    "parley_queue_oldest_seconds", "How long the oldest waiting job has waited: grow the workers by this"
)
MODEL_FAULTS = Counter("parley_model_faults_total", "Faults of model calls", ["upstream", "kind", "status"])
MODEL_QUIRKS = Counter(
    "parley_model_quirks_total",
    "Deviations of model servers from the protocol that were passed over",
    ["upstream", "quirk"],
)
INDEX_FILES = Counter(
    "parley_index_files_total",
    "Files of search indexes that were fetched from or stored in the blob store",
    ["outcome"],
)
PREVIEWS = Counter("parley_previews_total", "Previews of retrieval that this worker was asked for", ["outcome"])
RETRIEVAL_LEG_FAULTS = Counter(
    "parley_retrieval_leg_faults_total", "Searches that went on without vectors or without the reranker", ["leg"]
)
