"""Every variable that a worker reads, and the upstreams that they describe."""

from typing import Annotated, Literal, Self

from pydantic import (
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from services.agent_worker.model.presets import NOTHING_KNOWN, PRESETS, Preset
from shared.settings import Settings, referenced_secret, split_list
from shared.upstreams import described_upstreams
from shared.web.guard_rules import AllowList, OutgoingPolicy

DEFAULT_UPSTREAM = "default"


PromptMode = Literal["strict", "alternate", "as_is"]
UpstreamKind = Literal[
    "openai", "azure", "anthropic", "gemini", "mistral", "deepseek", "groq", "openrouter", "vllm", "sglang",
    "llama_cpp", "ollama", "litellm",
]  # fmt: skip


class _Value(BaseModel):
    """A frozen value that JSON fills, in camelCase or snake_case. A misspelt member is refused."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Timeouts(_Value):
    """Of a model call: to connect, until its first token, and the longest silence after that."""

    connect_s: float = Field(5.0, gt=0)
    first_token_s: float = Field(60.0, gt=0)
    token_s: float = Field(30.0, gt=0)


class UpstreamTimeouts(_Value):
    """Those of an upstream that differ from the worker's."""

    connect_s: float | None = Field(None, gt=0)
    first_token_s: float | None = Field(None, gt=0)
    token_s: float | None = Field(None, gt=0)


class UpstreamOptions(_Value):
    """How an upstream differs from OpenAI's protocol. What is not set follows from its kind.

    `think_tags`: `<think>…</think>` at the start of an answer is reasoning. `done_without_finish`: what `[DONE]` after
    text and without a finish reason means. `omit`: members of the request that the upstream does not know.
    `prompt_mode`: which conversations its chat templates accept.
    """

    think_tags: bool = False
    done_without_finish: Literal["answer", "fault"] = "answer"
    omit: frozenset[str] = frozenset()
    prompt_mode: PromptMode = "strict"


class Upstream(_Value):
    """An OpenAI-compatible endpoint: the URL up to and including `/v1`, its key, and how it differs from the protocol.

    `kind` names the provider or the server, and brings its usual URL and options; without one nothing is assumed.
    `headers` and `query` go with each request.
    """

    base_url: str = ""
    api_key: Annotated[SecretStr, BeforeValidator(referenced_secret)] = SecretStr("")
    kind: UpstreamKind | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    query: dict[str, str] = Field(default_factory=dict)
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    options: UpstreamOptions = UpstreamOptions()

    @model_validator(mode="after")
    def _check(self) -> Self:
        AnyHttpUrl(self.url)
        return self

    @property
    def preset(self) -> Preset:
        return PRESETS[self.kind] if self.kind is not None else NOTHING_KNOWN

    @property
    def url(self) -> str:
        """Raises ValueError where neither the entry nor its kind says it."""
        if (url := self.base_url or self.preset.base_url) is None:
            raise ValueError(f"needs a baseUrl, which does not follow from its kind ({self.kind or 'none'})")
        return url

    @property
    def effective_options(self) -> UpstreamOptions:
        given = {name: getattr(self.options, name) for name in self.options.model_fields_set}
        return UpstreamOptions(**(self.preset.options | given))

    def timeouts_over(self, usual: Timeouts) -> Timeouts:
        return usual.model_copy(update=self.timeouts.model_dump(exclude_none=True))


class WorkerSettings(Settings):
    max_turns: int = Field(100, description="turns that one worker runs at the same time", ge=1)
    model_base_url: str = Field(
        "", description="the upstream `default`: URL of an OpenAI-compatible API, up to and including /v1"
    )
    model_api_key: SecretStr = Field(SecretStr(""), description="its key; empty: none")
    upstreams: Annotated[dict[str, Upstream], BeforeValidator(described_upstreams)] = Field(
        default_factory=dict,
        description="further upstreams that agents may name: JSON, or the path of a JSON or TOML file, such as "
        '{"name": {"baseUrl": "…", "apiKey": "env:NAME", "kind": "vllm"}}',
    )
    model_connect_timeout_s: float = Field(5.0, description="to connect to a model, seconds", gt=0)
    model_first_token_timeout_s: float = Field(
        60.0, description="from the request to a model's first token, seconds", gt=0
    )
    model_token_timeout_s: float = Field(30.0, description="longest silence of a model in mid-answer, seconds", gt=0)
    model_tries: int = Field(
        3, description="tries per model before its first token, before the agent's next model is asked", ge=1
    )
    tool_allow: str = Field(
        "",
        description="hosts (name or name:port) and networks, comma separated, that tools may reach although they are "
        "not public",
    )
    tool_ports: str = Field(
        "80,443,8080,8443",
        description="ports that tools may reach, comma separated; a host:port in PARLEY_TOOL_ALLOW needs none",
    )
    tool_result_bytes: int = Field(65_536, description="longest result of a tool, bytes", gt=0)
    knowledge_dir: str = Field(
        "", description="cache of knowledge indexes; workers of one machine may share it; empty: a temporary one"
    )
    knowledge_cache_bytes: int = Field(1 << 30, description="size that the cache is kept below, bytes", gt=0)

    ingest_concurrency: int = Field(2, description="knowledge sources that one ingest worker reads at once", ge=1)
    ingest_memory_bytes: int = Field(
        1 << 30, description="memory that reading one source may take, bytes of address space", ge=1 << 28
    )
    ingest_cpu_s: int = Field(60, description="CPU time that reading one source may take, seconds", ge=1)
    ingest_lease_s: float = Field(
        10.0, description="an ingest worker that is silent for so long loses its sources, seconds", gt=0
    )

    embeddings_base_url: str = Field(
        "",
        description="OpenAI-compatible API, up to and including /v1, whose embeddings are searched beside the words; "
        "needs requirements-vectors; empty: words alone",
    )
    embeddings_model: str = Field("", description="the embeddings' model")
    embeddings_api_key: SecretStr = Field(SecretStr(""), description="its key; empty: none")
    qdrant_url: str = Field(
        "",
        description="Qdrant, in which the vectors are searched; used with embeddings only; needs requirements-qdrant; "
        "empty: in the worker's memory",
    )
    qdrant_api_key: SecretStr = Field(SecretStr(""), description="its key; empty: none")
    mongodb_vectors: bool = Field(
        False,
        description="the vectors are searched in history's MongoDB, which must be Atlas or have mongot; used with "
        "embeddings only",
    )
    rerank_url: str = Field(
        "", description="endpoint that orders found passages, in Cohere's or Jina's shape; used with embeddings only"
    )
    rerank_model: str = Field("", description="the reranker's model")
    rerank_api_key: SecretStr = Field(SecretStr(""), description="its key; empty: none")

    @field_validator("model_base_url")
    @classmethod
    def _is_the_url_of_an_api(cls, url: str) -> str:
        try:
            if url:
                TypeAdapter(AnyHttpUrl).validate_python(url)
        except ValidationError:
            raise ValueError("must be the URL of an API, such as https://models.example/v1") from None
        return url

    @property
    def all_upstreams(self) -> dict[str, Upstream]:
        default = (
            {DEFAULT_UPSTREAM: Upstream(base_url=self.model_base_url, api_key=self.model_api_key)}
            if self.model_base_url
            else {}
        )
        return default | self.upstreams

    @model_validator(mode="after")
    def _check_retrieval(self) -> Self:
        if self.embeddings_base_url and not self.embeddings_model:
            raise ValueError("PARLEY_EMBEDDINGS_BASE_URL needs PARLEY_EMBEDDINGS_MODEL")
        if self.qdrant_url and not self.embeddings_base_url:
            raise ValueError("PARLEY_QDRANT_URL needs PARLEY_EMBEDDINGS_BASE_URL")
        if self.mongodb_vectors and not self.embeddings_base_url:
            raise ValueError("PARLEY_MONGODB_VECTORS needs PARLEY_EMBEDDINGS_BASE_URL")
        if self.mongodb_vectors and self.qdrant_url:
            raise ValueError("PARLEY_MONGODB_VECTORS and PARLEY_QDRANT_URL exclude each other")
        if self.rerank_url and not self.embeddings_base_url:
            raise ValueError("PARLEY_RERANK_URL needs PARLEY_EMBEDDINGS_BASE_URL")
        return self

    @model_validator(mode="after")
    def _check_tools(self) -> Self:
        _ = self.outgoing_policy
        return self

    @property
    def outgoing_policy(self) -> OutgoingPolicy:
        """Raises ValueError."""
        ports = frozenset(int(port) for port in split_list(self.tool_ports))
        return OutgoingPolicy(allow=AllowList.parse(split_list(self.tool_allow)), ports=ports)
