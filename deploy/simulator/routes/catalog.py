"""The public routes: which models there are, what they take and cost, and how fast they were lately.

`GET /v1/models` with an ETag, `GET /docs-json` of one model, `GET /models/metrics` of the last five
minutes; no key is needed.
"""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import cast

from aiohttp import web

from deploy.simulator import answers, checks, clock
from deploy.simulator.answers import wire
from deploy.simulator.config import usd
from deploy.simulator.world import WORLD, World
from deploy.simulator.world.calls import new_request_id

_WINDOW = timedelta(seconds=300)
_ALIASES_MAX = 100
_TYPE = "openai/images-generations"


async def models(request: web.Request) -> web.Response:
    """`GET /v1/models?id=&include=pricing`: the catalogue; an unknown include is ignored."""
    world = request.app[WORLD]
    asked = {name for value in request.query.getall("id", ()) for name in value.split(",")}
    include = {part for value in request.query.getall("include", ()) for part in value.split(",")}
    if request.query.get("details") in {"true", "1"}:
        include.add("all")
    kind = request.query.get("type", _TYPE)
    rows = [_model(world, name, include) for name in checks.models()]
    rows = [row for row in rows if kind == _TYPE and (not asked or asked & _names(row))]
    body = json.dumps({"object": "list", "data": rows})
    tag = hashlib.sha256(body.encode()).hexdigest()[:32]
    response = web.json_response(text=body)
    response.etag = tag
    if any(known.value in {tag, "*"} for known in request.if_none_match or ()):
        response = web.Response(status=304)
        response.etag = tag
    return response


async def schema(request: web.Request) -> web.Response:
    """`GET /docs-json?model=&endpoint=`: the OpenAPI of one model's endpoint, as it is published."""
    world, name = request.app[WORLD], request.query.get("model", "")
    if name not in checks.models():
        text = "No such model"
        return wire.whole(answers.problem(404, text, new_request_id(), path=request.path))
    body = dict(checks.schema(name))
    fields = {
        **cast("Mapping[str, object]", body["properties"]),
        **world.config.edits.get(name, {}),
    }
    body["properties"] = {field: rule for field, rule in fields.items() if rule is not None}
    content = {"application/json": {"schema": body}}
    path = {"post": {"requestBody": {"required": True, "content": content}}}
    return web.json_response({"openapi": "3.0.0", "paths": {"/v1/images/generations": path}})


async def metrics(request: web.Request) -> web.Response:
    """`GET /models/metrics?aliases=`: durations of the calls that succeeded in the window."""
    world = request.app[WORLD]
    aliases = set(request.query.getall("aliases", ()))
    if set(request.query) - {"aliases"} or len(aliases) > _ALIASES_MAX:
        text = "only aliases is known here, up to 100 values"
        return wire.whole(answers.problem(400, text, new_request_id(), path=request.path))
    durations: dict[str, list[float]] = defaultdict(list)
    oldest = clock.now() - _WINDOW
    for call in reversed(world.calls.all):
        if call.received_at < oldest:
            break
        if call.charged and call.settled_at and (not aliases or call.model in aliases):
            spent = call.settled_at - call.received_at
            durations[call.model].append(spent / timedelta(milliseconds=1))
    rows = [
        {
            "alias": model,
            "endpoint": "/v1/images/generations",
            "metrics": {"duration_ms": _percentiles(sorted(times))},
        }
        for model, times in durations.items()
    ]
    body = {"window_seconds": int(_WINDOW.total_seconds()), "models": rows}
    return web.json_response({**body, "generated_at": clock.text(clock.now())})


def _model(world: World, name: str, include: set[str]) -> dict[str, object]:
    alias = name.rpartition("/")[2]
    row: dict[str, object] = {
        "id": name,
        "aliases": [alias],
        "type": _TYPE,
        "info": {
            "name": f"{alias} (simulated)",
            "developer": "Darkroom's simulator",
            "description": "Draws pictures that say SIMULATOR. No model runs behind this.",
        },
        "tags": ["simulator"],
    }
    if include & {"pricing", "all"}:
        # The published schema leaves a unit's fields open but for `price` and `per`.
        config = world.config
        quoted = config.price if config.quoted_price is None else config.quoted_price
        unit = {"unit": "image", "price": usd(quoted), "per": 1}
        fixed = {"kind": "fixed", "currency": "USD", "units": [unit]}
        row["pricing"] = config.tariffs.get(name, fixed)
    if include & {"modalities", "all"}:
        row["modalities"] = {"input": ["text", "image"], "output": ["image"]}
    if include & {"capabilities", "all"}:
        row["capabilities"] = ["text_to_image", "image_to_image"]
    return row


def _names(row: dict[str, object]) -> set[str]:
    name = str(row["id"])
    return {name, name.rpartition("/")[2]}


def _percentiles(times: list[float]) -> dict[str, float]:
    """Nearest rank, of a sorted list that is not empty."""
    ranks = {f"p{part}": math.ceil(part / 100 * len(times)) - 1 for part in (50, 75, 90, 99)}
    return {name: round(times[rank], 1) for name, rank in ranks.items()}
