"""The page for people: its files, and how a browser signs in. Everything else it does is the public API.

A browser has a session in a cookie that no script can read, and a CSRF token that only our own page knows.
What signs in by a link has the link's token behind `#`, which is sent to no server and stands in no log.
"""

from collections.abc import Callable, Coroutine
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from uuid import UUID

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.contract.formats import strict_json
from api.contract.formats.answers import JsonAnswer
from api.contract.formats.etags import matches
from api.dependencies.bodies import JSON, media_type, unsupported
from api.dependencies.state import State, state_of
from api.edge.callers import COOKIES, session_token
from api.edge.route import demand_none
from api.sharing.turns import WITHOUT_KEY
from models import ids
from models.accounts import sessions
from models.accounts.callers import Caller
from models.errors import FieldError, InvalidRequest, Unauthenticated
from models.platform.jsonable import Json, time

Handler = Callable[[Request], Coroutine[object, object, Response]]

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_FILES = {
    name: files("api").joinpath("page", "dist", name).read_bytes()
    for name in ("index.html", "app.js", "app.css")
}
# Trusted Types are demanded, and none is made: no script of ours writes HTML.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_UNSEEN = {"cache-control": "no-store"}


def install(app: FastAPI) -> None:
    """Serve the page's files and sessions, which are no part of the described API."""
    handlers: tuple[tuple[str, str, Handler], ...] = (
        ("/page/{name}", "GET", _file),
        ("/session", "GET", _show),
        ("/session", "POST", _sign_in),
        ("/session", "DELETE", _sign_out),
        ("/session/renew", "POST", _renew),
        ("/session/link", "POST", _make_link),
    )
    for path, method, handler in handlers:
        app.add_route(path, handler, methods=[method], include_in_schema=False)


def home(request: Request) -> Response:
    """Return the page itself."""
    return _sent(request, "index.html")


async def _file(request: Request) -> Response:
    demand_none(request)
    name = request.path_params["name"]
    if name not in _FILES or name == "index.html":
        raise HTTPException(404)
    return _sent(request, name)


def _sent(request: Request, name: str) -> Response:
    etag = f'"{sha256(_FILES[name]).hexdigest()[:24]}"'
    # Asked about each time, so that a new version is never mixed with an old one.
    headers = _HEADERS | {"etag": etag, "cache-control": "no-cache", "vary": "Accept"}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(_FILES[name], headers=headers, media_type=_TYPES[name.rpartition(".")[2]])


async def _show(request: Request) -> Response:
    """Return who is signed in. The page asks this first, so that being nobody is no refusal."""
    here, token = state_of(request), session_token(request)
    if token is None:
        return JsonAnswer({"signed_in": False}, headers=_UNSEEN)
    try:
        caller = await here.callers.admit(request)
    except Unauthenticated:
        return _forgotten(here, JsonAnswer({"signed_in": False}, headers=_UNSEEN))
    async with here.turns.open(caller.project_id) as tx:
        ends = await sessions.expiry(tx, token)
    if ends is None:
        return _forgotten(here, JsonAnswer({"signed_in": False}, headers=_UNSEEN))
    return JsonAnswer(await _session(here, caller, token, ends), headers=_UNSEEN)


async def _sign_in(request: Request) -> Response:
    """Open a session, by an API key or by a link that is used up with it."""
    here, given = state_of(request), await _body(request)
    token = sessions.new_token()
    if key := given.get("key"):
        caller = await here.callers.identify(f"Bearer {key}")
        here.callers.count(request, caller)
        here.callers.enter(request, caller, "key")
        async with here.turns.open(caller.project_id) as tx:
            ends = await sessions.create(tx, caller.key_id, "browser", token)
    else:
        here.callers.enter(request)
        found, expiry = None, None
        if sessions.well_formed(given["link"]):
            async with here.turns.open(WITHOUT_KEY) as tx:
                found = await sessions.redeem(tx, given["link"], token)
                expiry = await sessions.expiry(tx, token)
        if found is None or expiry is None:
            raise Unauthenticated(
                "This link was used before, or is over a minute old; make another, or use the API key."
            )
        caller, ends = found, expiry
        here.callers.count(request, caller)
    if (before := session_token(request)) is not None:
        await _end(here, before)
    shown = await _session(here, caller, token, ends)
    return _with_cookie(here, JsonAnswer(shown, 201, _UNSEEN), token)


async def _sign_out(request: Request) -> Response:
    """End the session for good; what the browser keeps of this site goes too."""
    here, token = state_of(request), session_token(request)
    if token is not None:
        await here.callers.admit(request)
        await _end(here, token)
    headers = {"clear-site-data": '"cache", "storage"'}
    return _forgotten(here, Response(status_code=204, headers=headers))


async def _renew(request: Request) -> Response:
    """Put a fresh token in the place of the session's, for the rest of its eight hours."""
    here, token = state_of(request), session_token(request)
    caller, fresh = await here.callers.admit(request), sessions.new_token()
    ends = None
    if token is not None:
        async with here.turns.open(caller.project_id) as tx:
            ends = await sessions.renew(tx, token, fresh)
    if ends is None:
        raise Unauthenticated("There is no session to renew; sign in again.")
    shown = await _session(here, caller, fresh, ends)
    return _with_cookie(here, JsonAnswer(shown, headers=_UNSEEN), fresh)


async def _make_link(request: Request) -> Response:
    """Make a link that signs in once, within a minute, as the key that asks; a session makes none."""
    here, token = state_of(request), sessions.new_token()
    if "authorization" not in request.headers:
        raise Unauthenticated(
            "A link is made with an API key: send `Authorization: Bearer <API key>`."
        )
    caller = await here.callers.admit(request)
    async with here.turns.open(caller.project_id) as tx:
        ends = await sessions.create(tx, caller.key_id, "link", token)
    url = f"{here.settings.public_url.rstrip('/')}/#/sign-in/{token}"
    made: Json = {"object": "sign_in_link", "url": url, "expires_at": time(ends)}
    return JsonAnswer(made, 201, _UNSEEN)


async def _body(request: Request) -> dict[str, str]:
    """Read `{"key": …}` or `{"link": …}`. A form of another site cannot send this type without asking."""
    if media_type(request) != "application/json":
        raise unsupported(request, JSON)
    given = strict_json.parse(await request.body())
    if isinstance(given, dict) and len(given) == 1:
        ((by, secret),) = given.items()
        if by in {"key", "link"} and isinstance(secret, str) and secret:
            return {by: secret}
    message = 'send {"key": "dr_live_…"}, or {"link": "drs_…"}'
    raise InvalidRequest(
        f"Nobody can be signed in so: {message}.", errors=(FieldError("", message),)
    )


async def _session(here: State, caller: Caller, token: str, ends: datetime) -> Json:
    async with here.turns.open(caller.project_id) as tx:
        who = await sessions.describe(tx, caller)
    return {
        "signed_in": True,
        "project": {"id": _project(who.project_id), "name": who.project},
        "key": {"id": ids.text(ids.KEY, who.key_id), "name": who.key},
        "scopes": sorted(caller.scopes),
        "csrf_token": sessions.csrf_token(token),
        "expires_at": time(ends),
    }


def _project(project_id: UUID | None) -> str | None:
    return None if project_id is None else ids.text(ids.PROJECT, project_id)


async def _end(here: State, token: str) -> None:
    async with here.database.transaction() as tx:
        await sessions.end(tx, token)
    here.callers.forget(token)


def _cookie(here: State) -> tuple[str, bool]:
    """Return the name of the cookie, and whether it is for TLS alone: as we are reached from outside."""
    secure = here.settings.public_url.startswith("https:")
    return COOKIES[0 if secure else 1], secure


def _with_cookie(here: State, answer: Response, token: str) -> Response:
    name, secure = _cookie(here)
    life = round(sessions.LIFE.total_seconds())
    answer.set_cookie(name, token, max_age=life, httponly=True, samesite="strict", secure=secure)
    return answer


def _forgotten(here: State, answer: Response) -> Response:
    name, secure = _cookie(here)
    answer.delete_cookie(name, httponly=True, samesite="strict", secure=secure)
    return answer
