"""The playground and the console over HTTP: off by default, and under a policy that lets nothing else run."""

import re

from services.gateway.console.pages import DIST
from tests.service.gateway.fakes import Stage, stage


async def get(gateway: Stage, path: str) -> tuple[int, dict[str, str], bytes]:
    async with gateway.client.get(gateway.base + path) as response:
        return response.status, dict(response.headers), await response.read()


async def test_the_pages_are_off_unless_they_are_asked_for(gateway: Stage) -> None:
    for path in ("/playground", "/console"):
        status, headers, _ = await get(gateway, path)
        assert (status, headers["Content-Type"]) == (404, "application/problem+json")
    _, _, home = await get(gateway, "/")
    assert b"/playground" not in home
    assert b"<!-- pages -->" not in home


async def test_each_page_is_turned_on_by_its_own_setting(redis_url: str) -> None:
    async with stage(redis_url, playground=True) as gateway:
        assert (await get(gateway, "/playground"))[0] == 200
        assert (await get(gateway, "/console"))[0] == 404
        _, _, home = await get(gateway, "/")
        assert b'<a class="button" href="/playground">Playground</a>' in home
        assert b"/console" not in home


async def test_a_page_runs_its_own_script_only_and_may_be_framed_by_nobody(redis_url: str) -> None:
    async with stage(redis_url, playground=True, console=True) as gateway:
        for path in ("/playground", "/console"):
            status, headers, body = await get(gateway, path)
            policy = headers["Content-Security-Policy"]
            assert status == 200
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
            assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
            text = body.decode()
            assert "needs JavaScript" in text
            files = re.findall(r'(?:src|href)="(/pages/[^"]+)" integrity="sha384-', text)
            assert len(files) == 2
            for file in files:
                status, headers, body = await get(gateway, file)
                assert (status, headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
                assert body == (DIST / file.rsplit("/", 1)[1]).read_bytes()
