"""Pure: what a client of A2A sends, in ProtoJSON: unknown members are ignored, and null is the same as nothing."""

import hashlib
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from services.gateway.edge.validation import field_errors
from services.gateway.faces.a2a.errors import CONTENT_TYPE_NOT_SUPPORTED, PARAMS, PUSH_NOT_SUPPORTED, A2aError
from shared.contracts.schema import Schema

MAX_ID: Final = 200
MAX_TEXT: Final = 100_000
MAX_PARTS: Final = 100
MAX_PAGE: Final = 100
# Of a new context's metadata, as the API of sessions has them.
MAX_PAIRS: Final = 16
MAX_NAME: Final = 64
MAX_VALUE: Final = 512
_PLAIN: Final = ("text/plain", "text/markdown", "text/*", "*/*")
ROLE_USER: Final = "ROLE_USER"
TaskState = Literal[
    "TASK_STATE_UNSPECIFIED",
    "TASK_STATE_SUBMITTED",
    "TASK_STATE_WORKING",
    "TASK_STATE_COMPLETED",
    "TASK_STATE_FAILED",
    "TASK_STATE_CANCELED",
    "TASK_STATE_INPUT_REQUIRED",
    "TASK_STATE_REJECTED",
    "TASK_STATE_AUTH_REQUIRED",
]
Id = Annotated[str, Field(max_length=MAX_ID)]
M = TypeVar("M", bound="Params")


class Params(Schema):
    """Members have the names of the specification, or their names in its proto file."""

    model_config = ConfigDict(str_max_length=1 << 20)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value


class Part(Params):
    text: str | None = None
    raw: Any = None
    url: Any = None
    data: Any = None
    media_type: str = ""


class SentMessage(Params):
    message_id: Annotated[str, Field(min_length=1, max_length=MAX_ID)]
    context_id: Id = ""
    task_id: Id = ""
    role: str
    parts: Annotated[tuple[Part, ...], Field(min_length=1, max_length=MAX_PARTS)]
    metadata: dict[str, Any] = Field(default_factory=dict)

    @field_validator("role")
    @classmethod
    def _is_the_users(cls, value: str) -> str:
        if value != ROLE_USER:
            raise ValueError("must be ROLE_USER")
        return value

    @field_validator("message_id", "context_id")
    @classmethod
    def _is_printable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("must have printable characters only")
        return value

    @property
    def text(self) -> str:
        return "\n\n".join(part.text or "" for part in self.parts)

    @property
    def pairs(self) -> dict[str, str]:
        """The texts of the metadata, for the agent's variables in a new context."""
        found = {name: value for name, value in self.metadata.items() if isinstance(value, str)}
        fitting = [(n, v) for n, v in found.items() if 0 < len(n) <= MAX_NAME and len(v) <= MAX_VALUE]
        return dict(fitting[:MAX_PAIRS])

    def digest(self) -> str:
        """Covers what is said: a repeat may want its answer in another way."""
        return hashlib.sha256(orjson.dumps(self.text)).hexdigest()


class Configuration(Params):
    accepted_output_modes: tuple[str, ...] = ()
    history_length: Annotated[int, Field(ge=0)] | None = None
    return_immediately: bool = False
    task_push_notification_config: dict[str, Any] | None = None


class SendMessage(Params):
    message: SentMessage
    configuration: Configuration = Configuration()


class GetTask(Params):
    id: Id = ""
    history_length: Annotated[int, Field(ge=0)] | None = None


class ListTasks(Params):
    context_id: Id = ""
    status: TaskState = "TASK_STATE_UNSPECIFIED"
    page_size: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    page_token: Annotated[str, Field(max_length=MAX_ID)] = ""
    history_length: Annotated[int, Field(ge=0)] | None = None
    include_artifacts: bool = False
    status_timestamp_after: Annotated[str, Field(max_length=64)] = ""


def parsed(model: type[M], value: Any) -> M:
    """Raises A2aError with what is wrong with which member."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = field_errors(error)
        said = "; ".join(f"{each['field']}: {each['message']}" for each in faults)
        raise A2aError(PARAMS, f"The parameters are not valid. {said}", violations=faults) from None


def parsed_message(value: Any) -> SendMessage:
    """A message that an agent here can answer: it has text, and nothing else. Raises A2aError."""
    sent = parsed(SendMessage, value)
    if sent.configuration.task_push_notification_config:
        raise A2aError(PUSH_NOT_SUPPORTED, "Push notifications are not supported. Use SubscribeToTask.")
    for index, part in enumerate(sent.message.parts):
        if part.text is None or not (part.media_type or "text/").startswith("text/"):
            raise A2aError(CONTENT_TYPE_NOT_SUPPORTED, f"message.parts[{index}] must have text. Agents read text only.")
    modes = sent.configuration.accepted_output_modes
    if modes and not any(mode.partition(";")[0].strip().lower() in _PLAIN for mode in modes):
        raise A2aError(CONTENT_TYPE_NOT_SUPPORTED, "Agents answer in text/plain, which acceptedOutputModes leaves out.")
    if not sent.message.text.strip() or len(sent.message.text) > MAX_TEXT:
        fault = {"field": "message.parts", "message": f"must have 1 to {MAX_TEXT} characters of text, not only blanks"}
        raise A2aError(PARAMS, f"{fault['field']} {fault['message']}.", violations=[fault])
    return sent
