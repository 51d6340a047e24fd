from typing import Any

import pytest

from services.gateway.faces.a2a.errors import A2aError, of_api
from services.gateway.faces.a2a.requests import GetTask, ListTasks, parsed, parsed_message
from shared.contracts.errors import ApiError, Code

MESSAGE: dict[str, Any] = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "Hello?"}]}


def sent(configuration: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    return {"message": MESSAGE | members, **({"configuration": configuration} if configuration else {})}


def test_unknown_members_and_nulls_are_nothing() -> None:
    value = sent({"historyLength": None, "blocking": True}, contextId=None, kind="message", extensions=["x"])
    found = parsed_message(value | {"metadata": None, "tenant": ""})
    assert (found.message.context_id, found.configuration.history_length) == ("", None)


def test_members_may_have_the_names_of_the_proto_file() -> None:
    value = {"message": {"message_id": "m1", "context_id": "c", "role": "ROLE_USER", "parts": [{"text": "a"}]}}
    assert parsed_message(value).message.context_id == "c"


def test_the_texts_of_the_parts_are_one_message() -> None:
    found = parsed_message(sent(parts=[{"text": "a", "mediaType": "text/markdown"}, {"text": "b", "filename": "x"}]))
    assert found.message.text == "a\n\nb"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({}, "INVALID_PARAMS"),
        ({"message": None}, "INVALID_PARAMS"),
        (sent(messageId=""), "INVALID_PARAMS"),
        (sent(messageId="m" * 201), "INVALID_PARAMS"),
        (sent(messageId="a\nb"), "INVALID_PARAMS"),
        (sent(role="ROLE_AGENT"), "INVALID_PARAMS"),
        (sent(role="user"), "INVALID_PARAMS"),
        (sent(parts=[]), "INVALID_PARAMS"),
        (sent(parts=[{"text": " "}]), "INVALID_PARAMS"),
        (sent(parts=[{"text": "x" * 100_001}]), "INVALID_PARAMS"),
        (sent(parts=[{"text": "a"}] * 101), "INVALID_PARAMS"),
        (sent({"historyLength": -1}), "INVALID_PARAMS"),
        (sent(parts=[{"text": "a"}, {"url": "https://a.example/x.png"}]), "CONTENT_TYPE_NOT_SUPPORTED"),
        (sent(parts=[{"raw": "aGk=", "mediaType": "image/png"}]), "CONTENT_TYPE_NOT_SUPPORTED"),
        (sent(parts=[{"data": {"a": 1}}]), "CONTENT_TYPE_NOT_SUPPORTED"),
        (sent(parts=[{"text": "a", "mediaType": "application/json"}]), "CONTENT_TYPE_NOT_SUPPORTED"),
        (sent({"acceptedOutputModes": ["image/png"]}), "CONTENT_TYPE_NOT_SUPPORTED"),
        (sent({"taskPushNotificationConfig": {"url": "https://a.example"}}), "PUSH_NOTIFICATION_NOT_SUPPORTED"),
    ],
)
def test_what_no_agent_here_can_answer_is_refused_in_the_protocols_words(value: Any, reason: str) -> None:
    with pytest.raises(A2aError) as raised:
        parsed_message(value)
    assert raised.value.details[0]["reason"] == reason
    assert raised.value.rest()["error"]["code"] == raised.value.kind.status


def test_only_texts_of_the_metadata_are_for_the_agents_variables() -> None:
    metadata = {"plan": "gold", "count": 1, "long": "x" * 513, "n" * 65: "y"}
    assert parsed_message(sent(metadata=metadata)).message.pairs == {"plan": "gold"}


def test_the_parameters_of_a_url_are_read_as_what_they_mean() -> None:
    found = parsed(ListTasks, {"pageSize": "7", "includeArtifacts": "true", "status": "TASK_STATE_WORKING"})
    assert (found.page_size, found.include_artifacts, found.status) == (7, True, "TASK_STATE_WORKING")
    for wrong in ({"pageSize": "0"}, {"pageSize": "101"}, {"status": "working"}, {"historyLength": "-1"}):
        with pytest.raises(A2aError):
            parsed(ListTasks, wrong)
    assert parsed(GetTask, {"id": "trn_1", "historyLength": "0"}).history_length == 0


def test_an_error_names_its_reason_its_task_and_the_members_at_fault() -> None:
    error = of_api(ApiError(Code.TURN_IN_PROGRESS, members={"activeTurnId": "trn_1"}))
    assert error.kind.status == 409
    assert error.details[0]["metadata"] == {"code": "turn_in_progress", "taskId": "trn_1"}
    assert error.rpc(4).status == 200
    violated = of_api(ApiError(Code.VALIDATION_FAILED, errors=[{"field": "metadata.plan", "message": "is missing"}]))
    assert violated.details[1]["fieldViolations"] == [{"field": "metadata.plan", "description": "is missing"}]
    for code, status in ((Code.RATE_LIMITED, 429), (Code.DEPENDENCY_UNAVAILABLE, 503)):
        late = of_api(ApiError(code))
        assert (late.kind.status, late.rpc(1).status, late.headers["Retry-After"]) == (status, status, "1")
