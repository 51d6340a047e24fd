"""What axe finds in a frame."""

from typing import Any

from playwright.async_api import Frame


async def violations(frame: Frame, axe: str) -> list[dict[str, Any]]:
    await frame.evaluate(axe)
    result: dict[str, Any] = await frame.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        {"rule": each["id"], "impact": each["impact"], "nodes": [node["html"][:200] for node in each["nodes"]]}
        for each in result["violations"]
    ]
