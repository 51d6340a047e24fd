"""Which proxy a model is called through."""

import pytest
from yarl import URL

from services.agent_worker.model.transport import _proxy_of


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://model.example/v1", None),
        ({"http_proxy": "http://10.0.0.1:3128"}, "http://model.example/v1", "http://10.0.0.1:3128"),
        ({"http_proxy": "10.0.0.1:3128"}, "http://model.example/v1", "http://10.0.0.1:3128"),
        ({"https_proxy": "proxy.example:8080"}, "https://model.example/v1", "http://proxy.example:8080"),
        ({"http_proxy": "10.0.0.1:3128"}, "https://model.example/v1", None),
        ({"all_proxy": "10.0.0.1:3128"}, "https://model.example/v1", "http://10.0.0.1:3128"),
        ({"http_proxy": "10.0.0.1:3128", "no_proxy": "model.example"}, "http://model.example/v1", None),
        ({"http_proxy": "10.0.0.1:3128", "no_proxy": "127.0.0.1"}, "http://127.0.0.1:8090/v1", None),
    ],
)
def test_the_environment_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _proxy_of(URL(url)) == (None if proxy is None else URL(proxy))
