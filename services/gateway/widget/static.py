"""The pages and scripts of the widget, outside of the API: they are for browsers, and none of them needs a key."""

from typing import Final

from aiohttp import web

from services.gateway.dependencies import Dependencies
from services.gateway.edge.built_files import FOREVER, serve_asset
from services.gateway.widget.assets import assets
from services.gateway.widget.frame_page import absent_page, frame_page
from shared.contracts.errors import ApiError, Code
from shared.ids import is_id
from shared.web.middleware import Handler

_SHORT: Final = "public, max-age=300"
# The loader runs on pages of every origin, and a page that pins its hash must be able to read it.
_FOR_ALL: Final = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}


def static_routes(dependencies: Dependencies) -> list[web.RouteDef]:
    loader, *others = [assets()[name] for name in ("loader.js", "frame.js", "frame.css")]
    return [
        web.get("/widget/loader.js", serve_asset(loader, _SHORT, _FOR_ALL)),
        web.get(f"/widget/{loader.file}", serve_asset(loader, FOREVER, _FOR_ALL)),
        *(web.get(f"/widget/{asset.file}", serve_asset(asset)) for asset in others),
        web.get("/widget/frame/{keyId}", _frame(dependencies)),
    ]


def _frame(dependencies: Dependencies) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        """The key's public id is in the address, so that only pages of its origins can hold the frame."""
        key_id = request.match_info["keyId"]
        if not is_id("key", key_id):
            return absent_page()
        try:
            key = await dependencies.authenticator.named_key(key_id)
        except ApiError as error:
            if error.code in (Code.INVALID_API_KEY, Code.EXPIRED_API_KEY):
                return absent_page()
            raise
        return frame_page(key.allowed_origins)

    return serve
