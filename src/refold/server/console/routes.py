"""Where the console is: the shell at every path below /console/, its files, and its door."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from refold.server.console.assets import Asset, Assets
from refold.server.console.sessions import Sessions
from refold.server.problems import Problem
from refold.server.routing import House, problem_response

__all__ = ["console_routes"]

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_FOREVER = "public, max-age=31536000, immutable"


def console_routes(house: House) -> list[Route]:
    """The routes of the console. Its files hold nothing of the app, so they are for everybody; what they show they ask
    the API for, as whoever has signed in.
    """
    assets = Assets()

    async def shell(request: Request) -> Response:
        content = assets.shell(request.scope.get("root_path", ""))
        headers = {**_HEADERS, "Cache-Control": "no-cache"}
        return Response(content, 200, headers, media_type="text/html")

    async def static(request: Request) -> Response:
        asset = assets.find(request.path_params["name"])
        if asset is None:
            return problem_response(Problem("not-found", "the console has no such file"), request.url.path)
        # Behind one address another release may be asked for this one's files: that must not be kept.
        kept = request.path_params["version"] == assets.version
        return _file(request, asset, _FOREVER if kept else "no-cache")

    async def enter(request: Request) -> Response:
        return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + "/console/", 307, _HEADERS)

    return [
        Route("/", enter),
        Route("/console", enter),
        Route("/console/session", Sessions(house), methods=["GET", "POST", "DELETE"]),
        Route("/console/static/{version}/{name:path}", static),
        Route("/console/{page:path}", shell),
    ]


def _file(request: Request, asset: Asset, caching: str) -> Response:
    headers = {**_HEADERS, "Cache-Control": caching, "ETag": asset.tag, "Vary": "Accept-Encoding"}
    known = request.headers.get("if-none-match", "")
    if asset.tag in {each.strip().removeprefix("W/") for each in known.split(",")}:
        return Response(None, 304, headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, 200, {**headers, "Content-Encoding": "gzip"}, media_type=asset.kind)
    return Response(asset.content, 200, headers, media_type=asset.kind)
