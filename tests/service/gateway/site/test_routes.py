"""The site over HTTP: types, policies, caching, and the places that problem documents lead to."""

import gzip

import pytest

from services.gateway.site.files import files
from tests.service.gateway.fakes import Stage

PATHS = sorted(files())


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_is_served_without_a_key_and_under_a_strict_policy(gateway: Stage, path: str) -> None:
    async with gateway.client.get(gateway.base + path) as response:
        body = await response.read()
        policy = response.headers["Content-Security-Policy"]
    assert response.status == 200
    assert body == files()[path].body
    assert response.headers["Content-Type"] == files()[path].media_type
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'; script-src 'self'; " in policy
    assert "frame-ancestors 'none'" in policy
    assert ("'unsafe-inline'" in policy) == (path == "/docs/reference")
    assert "http" not in policy


async def test_a_page_that_has_not_changed_is_not_sent_again(gateway: Stage) -> None:
    async with gateway.client.get(gateway.base + "/docs/quickstart") as response:
        headers = {"If-None-Match": f"W/{response.headers['ETag']}"}
    async with gateway.client.get(gateway.base + "/docs/quickstart", headers=headers) as response:
        assert (response.status, await response.read()) == (304, b"")


async def test_a_client_that_cannot_unpack_gets_plain_bytes(gateway: Stage) -> None:
    headers = {"Accept-Encoding": "identity"}
    async with gateway.client.get(gateway.base + "/docs/assets/scalar.js", headers=headers) as response:
        assert "Content-Encoding" not in response.headers
        assert await response.read() == gzip.decompress(files()["/docs/assets/scalar.js"].packed)


async def test_head_has_the_headers_of_get_and_no_body(gateway: Stage) -> None:
    async with gateway.client.head(gateway.base + "/llms.txt") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_the_type_of_a_problem_leads_to_its_row(gateway: Stage) -> None:
    bad = {"Authorization": "Bearer parley_sk_wrong"}
    async with gateway.client.get(gateway.url("/chat/sessions"), headers=bad) as response:
        problem = await response.json()
    async with gateway.client.get(gateway.base + problem["type"], allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == "/docs/errors#invalid_api_key"
    assert 'id="invalid_api_key"' in files()["/docs/errors"].body.decode()


async def test_an_unknown_page_is_a_problem(gateway: Stage) -> None:
    async with gateway.client.get(gateway.base + "/docs/../../etc/passwd") as response:
        assert response.status == 404
    async with gateway.client.get(gateway.base + "/docs/nothing") as response:
        assert (await response.json())["code"] == "not_found"


async def test_a_person_who_follows_a_broken_link_gets_a_page_with_a_link_home(gateway: Stage) -> None:
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with gateway.client.get(gateway.base + "/docs/nothing", headers=headers) as response:
        text = await response.text()
        assert (response.status, response.content_type) == (404, "text/html")
        assert 'href="/"' in text
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["x-request-id"].startswith("req_")
    async with gateway.client.head(gateway.base + "/nothing", headers=headers) as response:
        assert (response.status, response.content_type, await response.read()) == (404, "text/html", b"")


@pytest.mark.parametrize(
    ("method", "path", "accept", "code"),
    [
        ("GET", "/docs/nothing", "*/*", "not_found"),
        ("GET", "/docs/nothing", "application/json", "not_found"),
        ("POST", "/docs/nothing", "text/html", "not_found"),
        ("POST", "/docs", "text/html", "method_not_allowed"),
        ("GET", "/api/v1/nothing", "text/html", "not_found"),
        ("GET", "/api", "text/html", "not_found"),
    ],
)
async def test_programs_and_the_api_get_a_problem_document(
    gateway: Stage, method: str, path: str, accept: str, code: str
) -> None:
    async with gateway.client.request(method, gateway.base + path, headers={"Accept": accept}) as response:
        assert response.content_type == "application/problem+json"
        assert (await response.json())["code"] == code
