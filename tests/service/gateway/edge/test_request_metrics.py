"""Requests are counted under label values that no client can make."""

from prometheus_client import REGISTRY

from services.gateway.edge.request_metrics import REQUESTS
from shared.ids import new_id
from tests.service.gateway.fakes import Stage

SESSION = "/api/v1/chat/sessions/{sessionId}"


def counted(method: str, route: str, status: str) -> float:
    labels = {"method": method, "route": route, "status": status}
    return REGISTRY.get_sample_value("parley_requests_total", labels) or 0.0


def label_sets() -> int:
    return len(next(iter(REQUESTS.collect())).samples)


async def test_requests_count_by_the_template_of_their_route(gateway: Stage) -> None:
    before = counted("GET", SESSION, "404")
    timed = REGISTRY.get_sample_value("parley_request_seconds_count", {"method": "GET", "route": SESSION}) or 0.0
    for _ in range(3):
        async with gateway.client.get(gateway.url(f"/chat/sessions/{new_id('ses')}")) as response:
            assert response.status == 404
    assert counted("GET", SESSION, "404") == before + 3
    assert REGISTRY.get_sample_value("parley_request_seconds_count", {"method": "GET", "route": SESSION}) == timed + 3


async def test_no_path_and_no_method_of_a_client_becomes_a_label_value(gateway: Stage) -> None:
    async def strange(method: str, number: int) -> None:
        for asked, path in ((method, "/models"), ("GET", f"/nothing/{number}"), (method, f"/{number}")):
            async with gateway.client.request(asked, gateway.url(path)) as response:
                assert response.status in (404, 405)

    await strange("PURGE", 0)
    before, unknown = label_sets(), counted("unknown", "unknown", "405")
    for number, method in enumerate(("COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "REPORT", "TRACE"), 1):
        await strange(method, number)
    assert label_sets() == before
    assert counted("unknown", "unknown", "405") == unknown + 7
