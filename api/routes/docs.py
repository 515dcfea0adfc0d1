"""Pages for people, without a key: the API to read and try, and the way to the page of Darkroom itself.

Swagger UI comes out of a package, for a page that needs somebody else's server is blank in many a network.
The pages run nothing but what is served here, and name it relatively: they work under any prefix.
"""

from collections.abc import Callable, Coroutine
from functools import cache
from html import escape
from importlib.resources import as_file, files

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.contract.formats.answers import JsonAnswer
from api.edge.route import demand_none
from api.routes import page
from models.errors import refusals

Page = Callable[[Request], Coroutine[object, object, Response]]

# React sets styles by script, which a policy does not ask about; its icons are `data:` URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
_CACHING = {"cache-control": "public, max-age=3600"}
_VENDORED = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Darkroom</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="favicon.ico">"""
_DOCS = f"""{_HEAD}
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="ui"><noscript>This page needs JavaScript; <a href="openapi.json">openapi.json</a> does not.
</noscript></div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#ui", deepLinking: true, docExpansion: "list", validatorUrl: null,
});
"""
_ERRORS = f"""{_HEAD}
<h1>Errors</h1>
<p>What a refusal's <code>code</code> means; its <code>detail</code> says which value, and what to do.</p>
<table><tr><th>code<th>status<th>what happened<th>can the same request succeed later?
{{rows}}
</table>
"""
# What the HTTP framework refuses by itself: see `api/edge/problems.py`.
_FRAMEWORK = (
    ("method_not_allowed", "405", "The path exists, the method does not.", "no"),
    ("http_error", "any", "The HTTP framework has refused the request by itself.", "no"),
)
_ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6"
fill="#1b1b1f"/><circle cx="16" cy="16" r="9" fill="#c8372d"/><circle cx="16" cy="16" r="4" fill="#1b1b1f"/>
</svg>
"""


def install(app: FastAPI) -> None:
    """Serve the pages of an app, and its description, of which they are no part."""
    page.install(app)

    async def root(request: Request) -> Response:
        said = {
            "name": app.title,
            "version": app.version,
            "docs": "/docs",
            "openapi": "/openapi.json",
        }
        if "text/html" in request.headers.get("accept", ""):
            return page.home(request)
        return JsonAnswer(said, headers={"vary": "Accept"})

    @cache
    def description() -> bytes:
        return bytes(JsonAnswer(app.openapi()).body)

    async def described(_request: Request) -> Response:
        return Response(description(), media_type=JsonAnswer.media_type)

    for path, route in (
        ("/", root), ("/docs", _docs), ("/docs/start.js", _start), ("/docs/{name}", _vendored),
        ("/errors", _errors), ("/favicon.ico", _favicon), ("/openapi.json", described),
    ):  # fmt: skip
        app.add_route(path, _without_query(route), include_in_schema=False)


def _without_query(route: Page) -> Page:
    async def judged(request: Request) -> Response:
        demand_none(request)
        return await route(request)

    return judged


async def _docs(_request: Request) -> Response:
    return HTMLResponse(_DOCS, headers=_HEADERS)


async def _start(_request: Request) -> Response:
    return Response(_START, headers=_CACHING, media_type="text/javascript")


async def _vendored(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _VENDORED:
        raise HTTPException(404)
    with as_file(files("fastapi_offline") / "static" / name) as path:
        return FileResponse(path, headers=_CACHING, media_type=_VENDORED[name])


async def _errors(_request: Request) -> Response:
    """List what a problem's `type` leads to: each code, by its anchor."""
    ours = [
        (each.code, str(each.status), each.__doc__ or "", "yes" if each.retryable else "no")
        for each in refusals()
    ]
    rows = "\n".join(
        f'<tr id="{code}"><td><code>{code}</code><td>{status}<td>{escape(what)}<td>{again}'
        for code, status, what, again in sorted((*ours, *_FRAMEWORK), key=lambda row: row[1])
    )
    return HTMLResponse(_ERRORS.format(rows=rows), headers=_HEADERS)


async def _favicon(_request: Request) -> Response:
    return Response(_ICON, headers=_CACHING, media_type="image/svg+xml")
