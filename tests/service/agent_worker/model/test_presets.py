"""Each ready-made upstream, asked at a server that answers like the provider, under the path that the provider has."""

import re
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import orjson
import pytest
from aiohttp import web

from services.agent_worker.model.call import Sink
from services.agent_worker.model.client import ModelRequest, Models
from services.agent_worker.model.presets import PRESETS
from services.agent_worker.settings import Timeouts, Upstream, UpstreamKind, WorkerSettings
from shared.contracts.agents import ModelChoice
from shared.settings import SettingsError
from tests.service.agent_worker.stage import serving
from tests.upstream.providers import PROVIDERS
from tests.upstream.quirky import QuirkyUpstream

OPERATING = Path(__file__).resolve().parents[4] / "deploy" / "OPERATING.md"
TIMEOUTS = Timeouts(connect_s=5.0, first_token_s=20.0, token_s=20.0)
TOKEN = {"PARLEY_INTERNAL_TOKEN": "a-token-for-tests-only"}
AZURE = "https://my-resource.openai.azure.com/openai/v1"


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("behaviour", ["plain", "tools-in-parallel"])
async def test_a_ready_made_upstream_is_asked_as_its_provider_demands(kind: str, behaviour: str) -> None:
    provider, seen = QuirkyUpstream(), list[tuple[str, str | None, str | None]]()

    async def complete(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, request.headers.get("Authorization"), request.headers.get("api-key")))
        return await provider.complete(request)

    name = f"{kind}-{behaviour}"
    ready = Upstream.model_validate({"kind": kind, "apiKey": "k-1", **({"baseUrl": AZURE} if kind == "azure" else {})})
    path = urlsplit(ready.url).path
    async with serving(web.post("/{path:.*}", complete)) as url:
        here = Upstream.model_validate({"kind": kind, "apiKey": "k-1", "baseUrl": url + path})
        async with Models({"ready": here}, TIMEOUTS) as models:
            shown = list[str]()
            answer = await models.answer(
                [ModelChoice(upstream="ready", name=name)],
                ModelRequest({"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.5}),
                room=1000,
                id_stem="stem",
                sink=Sink(show=shown.append, backpressure=_at_once),
            )
    wanted = PROVIDERS[name].outcome
    assert ("".join(shown), answer.finish_reason) == (wanted.text, wanted.finish)
    assert tuple((call.name, call.arguments) for call in answer.tool_calls) == wanted.calls
    key = (None, "k-1") if kind == "azure" else ("Bearer k-1", None)
    assert seen == [(f"{path}/chat/completions", *key)]
    (body,) = provider.bodies[name]
    assert ("stream_options" in body) == (kind != "mistral")


async def _at_once() -> None:
    pass


def test_every_kind_has_a_preset_and_every_documented_entry_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```json\n(\{.*?\n\})\n```", OPERATING.read_text("utf-8"), re.DOTALL)
    for name in re.findall(r"env:([A-Z_]+)", example):
        monkeypatch.setenv(name, "k-1")
    upstreams = WorkerSettings.load(TOKEN | {"PARLEY_UPSTREAMS": example}).all_upstreams
    assert set(PRESETS) == set(get_args(UpstreamKind)) == {upstream.kind for upstream in upstreams.values()}
    for name, entry in orjson.loads(example).items():
        assert upstreams[name].url == (entry.get("baseUrl") or PRESETS[entry["kind"]].base_url)


@pytest.mark.parametrize("entry", ['{"kind": "azure", "apiKey": "k"}', '{"apiKey": "k"}'])
def test_an_upstream_whose_url_does_not_follow_from_its_kind_is_refused(entry: str) -> None:
    with pytest.raises(SettingsError, match=r"^PARLEY_UPSTREAMS: .*needs a baseUrl"):
        WorkerSettings.load(TOKEN | {"PARLEY_UPSTREAMS": f'{{"mine": {entry}}}'})
