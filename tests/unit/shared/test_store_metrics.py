import pytest
from prometheus_client import REGISTRY

from shared.broker.script import Script, operation_of
from shared.store_metrics import measured


def counted(operation: str) -> tuple[float, float]:
    """Calls that were answered, and those that were not."""
    labels = {"store": "test", "operation": operation}
    seconds, failures = "parley_store_seconds_count", "parley_store_failures_total"
    return REGISTRY.get_sample_value(seconds, labels) or 0.0, REGISTRY.get_sample_value(failures, labels) or 0.0


def test_an_answer_is_timed() -> None:
    with measured("test", "answered", (OSError,)):
        pass
    assert counted("answered") == (1, 0)


def test_a_store_that_does_not_answer_is_counted_and_not_timed() -> None:
    with pytest.raises(ConnectionError), measured("test", "silent", (OSError,)):
        raise ConnectionError
    assert counted("silent") == (0, 1)


def test_a_refusal_is_an_answer() -> None:
    with pytest.raises(ValueError, match="refused"), measured("test", "refused", (OSError,)):
        raise ValueError("refused")
    assert counted("refused") == (1, 0)


def test_the_operation_of_a_script_is_its_name_and_never_its_text_or_a_key() -> None:
    script = Script.of("return 1", "one")
    assert operation_of(script.command(["key"], [])) == "one"
    assert operation_of(("EVALSHA", "0" * 40, 0)) == "script"
    assert operation_of(("GET", "secret")) == "get"
