from datetime import UTC, datetime

import pytest

from services.agent_worker.model.faults import facts_of, fault_of, read_error
from services.agent_worker.model.retry_after import retry_after_s

NOW = datetime(2026, 1, 31, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "Sat, 31 Jan 2026 09:00:03 GMT"}, 3.0),
        ({"retry-after": "Sat, 31 Jan 2026 08:00:00 GMT"}, 0.0),
        ({"retry-after": "Saturday"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
        ({"retry-after": "inf"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
    ],
)
def test_the_wait_that_a_server_asks_for_is_read_in_every_form(headers: dict[str, str], seconds: float) -> None:
    assert retry_after_s(headers, NOW) == seconds


def test_the_log_of_a_fault_has_names_and_numbers_and_no_text() -> None:
    error = {
        "message": "Invalid prompt: my secret question",
        "type": "invalid_request_error",
        "param": "messages.[1].content",
        "code": "my secret question",
    }
    facts = facts_of(fault_of(read_error(error, status=400), "HTTP 400"))
    assert facts == {
        "kind": "refused",
        "reason": "HTTP 400",
        "after_text": False,
        "status": 400,
        "error_type": "invalid_request_error",
        "error_param": "messages.[1].content",
    }


@pytest.mark.parametrize("value", [None, 7, [], {}, "x", {"error": 7}, {"code": {}}, {"status": [1]}, {"details": "x"}])
def test_no_error_object_crashes_its_reader(value: object) -> None:
    fault = fault_of(read_error(value), "x")
    assert isinstance(facts_of(fault), dict)
