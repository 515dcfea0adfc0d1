"""The operator plane over HTTP: projects, keys, state, pauses, probes, charges; and what it writes down."""

from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from models import ids
from tests.conftest import PLAIN
from tests.integration.api.client import Api, Body, bearer, body, path, problem

SHOP = "/v1/operator/projects"


@pytest.fixture
async def operator(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an operator's key."""
    headers = {**await api.operator(), "x-request-id": "night-1"}
    async with httpx.AsyncClient(
        base_url=api.url, headers=headers, timeout=30, trust_env=False, verify=PLAIN
    ) as client:
        yield client


async def logged(operator: httpx.AsyncClient, **query: str) -> list[Body]:
    answer = await operator.get("/v1/operator/audit", params={"limit": "100", **query})
    assert answer.status_code == 200, answer.text
    found: list[Body] = answer.json()["data"]
    return found


def own(api: Api) -> str:
    return ids.text(ids.PROJECT, api.life.caller.project_id)


async def test_a_project_is_made_found_limited_and_renamed(operator: httpx.AsyncClient) -> None:
    made = await operator.post(SHOP, json={"name": "atelier", "in_flight_cap": 3})
    assert made.status_code == 201, made.text
    project = made.json()
    assert (project["status"], project["in_flight_cap"], project["keys"]) == ("active", 3, 0)
    problem(await operator.post(SHOP, json={"name": "atelier"}), 409, "conflict")
    where = f"{SHOP}/{project['id']}"
    changed = await operator.patch(
        where, json={"name": "studio", "in_flight_cap": None, "concurrency_key_cap": 2}
    )
    shown = changed.json()
    assert (shown["name"], shown["in_flight_cap"], shown["concurrency_key_cap"]) == (
        "studio", None, 2,
    )  # fmt: skip
    assert (await operator.get(where)).json() == shown
    problem(await operator.patch(where, json={"name": "shop"}), 409, "conflict")
    first = (await operator.get(SHOP, params={"limit": 1})).json()
    second = (await operator.get(SHOP, params={"cursor": first["next_cursor"]})).json()
    assert [each["name"] for each in first["data"] + second["data"]] == ["studio", "shop"]
    assert [each["action"] for each in await logged(operator, project=project["id"])] == [
        "project.limits_changed", "project.renamed", "project.limits_changed", "project.created",
    ]  # fmt: skip


async def test_a_projects_first_key_needs_no_shell(api: Api, operator: httpx.AsyncClient) -> None:
    made = await operator.post(SHOP, json={"name": "atelier"})
    keys = f"{SHOP}/{made.json()['id']}/keys"
    key = (await operator.post(keys, json={"name": "first", "scopes": ["admin"]})).json()
    async with httpx.AsyncClient(
        base_url=api.url, headers=bearer(key["key"]), trust_env=False, verify=PLAIN
    ) as theirs:
        assert (await theirs.get("/v1/keys")).json()["data"][0]["id"] == key["id"]
    problem(
        await operator.post(keys, json={"name": "x", "scopes": ["operator"]}),
        422,
        "invalid_request",
    )
    listed = (await operator.get("/v1/operator/keys", params={"limit": 100})).json()["data"]
    assert {(each["name"], each["project"]) for each in listed} == {
        ("first", "atelier"), ("night shift", None), ("shop", "shop"),
    }  # fmt: skip
    assert key["key"] not in str(listed)
    revoked = await operator.delete(f"/v1/operator/keys/{key['id']}")
    assert revoked.json()["revoked_at"] is not None
    again = await operator.delete(f"/v1/operator/keys/{key['id']}")
    assert again.json() == revoked.json()
    lines = await logged(operator, subject=key["id"])
    assert [each["action"] for each in lines] == ["key.revoked", "key.created"]
    after = [each["after"] for each in lines]
    assert [isinstance(each, dict) and each["hint"] for each in after] == [key["hint"]] * 2


async def test_a_suspended_project_accepts_no_job_and_may_read(
    api: Api, operator: httpx.AsyncClient
) -> None:
    job, where = await api.submit(), f"{SHOP}/{own(api)}"
    held = await operator.post(f"{where}/suspend", json={"reason": "it does not pay"})
    assert (held.json()["status"], held.json()["paused"]) == ("suspended", True)
    problem(await operator.post(f"{where}/suspend", json={"reason": "again"}), 409, "conflict")
    fresh = await api.key_with("jobs:write", "jobs:read")  # nobody has looked this one up before
    async with httpx.AsyncClient(
        base_url=api.url, headers=fresh, trust_env=False, verify=PLAIN
    ) as theirs:
        refused = problem(await theirs.post("/v1/jobs", json=body()), 403, "project_suspended")
        assert refused["retryable"] is False
        exact = body(reuse="exact")
        problem(await theirs.post("/v1/jobs", json=exact), 403, "project_suspended")
        many = {"items": [body() | {"custom_id": "a"}]}
        problem(await theirs.post("/v1/batches", json=many), 403, "project_suspended")
        again = {"action": "retry", "filter": {"status": "failed"}}
        problem(await theirs.post("/v1/jobs/actions", json=again), 403, "project_suspended")
        shown = (await theirs.get(path(job))).json()
        assert (shown["status"], shown["waiting_reason"]) == ("queued", "paused")
        assert (await theirs.post(path(job, "/cancel"))).json()["status"] == "canceled"
        assert (await theirs.delete(path(job))).status_code == 204
    stop = {"scope": "project", "project_id": own(api)}
    problem(await operator.post("/v1/operator/resume", json=stop), 409, "conflict")
    (need,) = (await operator.get("/v1/operator/state")).json()["attention"]
    said = f"An operator has suspended the project shop ({own(api)}) at "
    assert (need["code"], need["message"].startswith(said)) == ("project_suspended", True)
    assert need["message"].endswith(": it does not pay. Reinstate it, or delete it.")
    back = (await operator.post(f"{where}/reinstate")).json()
    assert (back["status"], back["paused"], back["suspended_reason"]) == ("active", False, None)
    problem(await operator.post(f"{where}/reinstate"), 409, "conflict")


async def test_a_pause_that_was_there_before_a_suspension_stays_after_it(
    api: Api, operator: httpx.AsyncClient
) -> None:
    stop, where = {"scope": "project", "project_id": own(api)}, f"{SHOP}/{own(api)}"
    await operator.post("/v1/operator/pause", json=stop)
    await operator.post(f"{where}/suspend", json={"reason": "r"})
    assert (await operator.post(f"{where}/reinstate")).json()["paused"] is True


async def test_everything_a_model_or_a_project_is_paused_and_goes_on(
    api: Api, operator: httpx.AsyncClient
) -> None:
    model = "bytedance/seedream-5-0-lite-preview"
    stops: list[Mapping[str, str]] = [
        {}, {"scope": "model", "model": model}, {"scope": "project", "project_id": own(api)},
    ]  # fmt: skip
    for stop in stops:
        for _ in range(2):  # what is paused already stays so
            standing = await operator.post("/v1/operator/pause", json=stop)
            assert standing.status_code == 200, standing.text
    assert [each["scope"] for each in standing.json()["data"]] == ["all", "model", "project"]
    state = (await operator.get("/v1/operator/state")).json()
    assert state["pauses"] == standing.json()["data"]
    assert [
        (each["code"], each["message"].rpartition(" at ")[0]) for each in state["attention"]
    ] == [
        ("paused", f"An operator has paused {what}")
        for what in ("everything", model, f"the project shop ({own(api)})")
    ]
    for stop in stops:
        standing = await operator.post("/v1/operator/resume", json=stop)
    assert standing.json()["data"] == []
    for wrong in ({"scope": "model"}, {"model": model}, {"scope": "all", "project_id": own(api)}):
        problem(await operator.post("/v1/operator/pause", json=wrong), 422, "invalid_request")
    nobody = {"scope": "model", "model": "dall-e-9"}
    problem(await operator.post("/v1/operator/pause", json=nobody), 404, "not_found")
    actions = [each["action"] for each in await logged(operator)]
    assert actions.count("pause.began") == actions.count("pause.ended") == 3


async def test_an_operator_cancels_jobs_of_a_project_by_a_filter(
    api: Api, operator: httpx.AsyncClient
) -> None:
    await api.submit(tags=["flood"])
    await api.submit()
    where = f"{SHOP}/{own(api)}/actions"
    asked: Body = {"action": "cancel", "filter": {"tag": "flood"}}
    seen = await operator.post(where, json=asked | {"dry_run": True})
    assert seen.json()["count"] == 1, seen.text
    made = await operator.post(where, json=asked)
    assert (made.status_code, made.json()["count"]) == (202, 1), made.text
    listed = (await operator.get(where)).json()["data"]
    assert listed == (await api.client.get("/v1/jobs/actions")).json()["data"]
    off = await operator.post(f"/v1/operator/actions/{made.json()['id']}/cancel")
    assert (off.status_code, off.json()["status"]) == (200, "canceled"), off.text
    unknown = f"/v1/operator/actions/{ids.text(ids.ACTION, ids.new())}/cancel"
    problem(await operator.post(unknown), 404, "not_found")
    (line,) = await logged(operator, action="action.requested")
    assert (line["subject"], line["after"]) == (
        made.json()["id"], {"action": "cancel", "count": 1},
    )  # fmt: skip
    nobody = f"{SHOP}/{ids.text(ids.PROJECT, ids.new())}/actions"
    problem(await operator.post(nobody, json=asked), 404, "not_found")


async def test_a_closed_gate_is_seen_and_tried_at_once(
    api: Api, operator: httpx.AsyncClient
) -> None:
    await api.life.alter("INSERT INTO gates (reason, detail) VALUES ('provider_down', 'It is.')")
    await api.life.alter("INSERT INTO gates (reason, detail) VALUES ('storage', 'Full.')")
    state = (await operator.get("/v1/operator/state")).json()
    assert [(each["reason"], each["state"]) for each in state["gates"]] == [
        ("provider_down", "closed"), ("storage", "closed"),
    ]  # fmt: skip
    assert {each["code"] for each in state["attention"]} == {"gate_provider_down", "gate_storage"}
    probed = await operator.post("/v1/operator/gates/probe", json={"reason": "provider_down"})
    assert probed.json() == {"object": "probe", "reason": "provider_down", "gates": 1}
    state = (await operator.get("/v1/operator/state")).json()
    assert state["gates"][0]["state"] == "half_open"
    again = await operator.post("/v1/operator/gates/probe", json={"reason": "provider_down"})
    problem(again, 409, "conflict")
    ours = await operator.post("/v1/operator/gates/probe", json={"reason": "storage"})
    problem(ours, 422, "invalid_request")


async def test_an_unknown_charge_is_listed_and_resolved_by_hand(
    api: Api, operator: httpx.AsyncClient
) -> None:
    job = await api.submit(on_unknown_charge="fail")
    await api.life.lose(await api.life.start(job))
    (charge,) = (await operator.get("/v1/operator/charges")).json()["data"]
    named = path(job).rpartition("/")[2]
    assert (charge["attempt"], charge["held"]["credits"]) == (f"{named}:1", 91_000)
    where = f"/v1/operator/charges/{named}/1/resolve"
    wrong = {"verdict": "free", "credits": 5}
    problem(await operator.post(where, json=wrong), 422, "invalid_request")
    done = await operator.post(where, json={"verdict": "charged"})
    assert (done.json()["charge"], done.json()["credits"]) == ("settled", 91_000)
    problem(await operator.post(where, json={"verdict": "free"}), 409, "conflict")
    assert (await operator.get("/v1/operator/charges")).json()["data"] == []
    (line,) = await logged(operator, action="charge.resolved")
    assert (line["subject"], line["after"]) == (
        f"{named}:1", {"charge": "settled", "credits": 91_000},
    )  # fmt: skip
    nothing = await operator.get(f"/v1/operator/charges/{named}/1/evidence")
    problem(nothing, 404, "not_found")


async def test_the_state_has_the_processes_the_queue_and_the_limit_over_time(
    api: Api, operator: httpx.AsyncClient
) -> None:
    await api.submit()
    await api.life.alter(
        "INSERT INTO processes (id, role, version, seen_at)"
        " VALUES ('w-1', 'worker', '0.0.9', now() - interval '1 min')"
    )
    for at, calls in (("2 hours", 8), ("1 hour", 16), ("3 days", 4)):
        await api.life.alter(
            "INSERT INTO limit_samples (at, calls, in_flight)"
            " VALUES (date_trunc('minute', now() - CAST(CAST(:at AS text) AS interval)), :calls, 3)",
            at=at,
            calls=calls,
        )
    state = (await operator.get("/v1/operator/state")).json()
    assert [(each["id"], each["missing"]) for each in state["processes"]] == [("w-1", True)]
    assert state["queue"]["queued"] == 1
    assert state["queue"]["waiting"][0]["reason"] == "queue"
    assert (state["wallet"], state["books"]["differences"]) == (None, 0)
    assert {"process_missing", "no_worker"} <= {each["code"] for each in state["attention"]}
    day = (await operator.get("/v1/operator/limit")).json()["data"]
    assert [each["calls"] for each in day] == [8, 16]
    week = await operator.get("/v1/operator/limit", params={"from": "2026-01-01T00:00:00Z"})
    assert [each["calls"] for each in week.json()["data"]] == [4, 8, 16]
    assert (await operator.get("/v1/operator/set-aside")).json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "projects/x"), ("DELETE", "projects/x"), ("DELETE", "keys/x"), ("POST", "actions/x/cancel"),
     ("GET", "charges/x/1/evidence")],
)  # fmt: skip
async def test_an_operator_is_told_of_no_project_of_its_own(
    operator: httpx.AsyncClient, method: str, path: str
) -> None:
    said = problem(await operator.request(method, f"/v1/operator/{path}"), 404, "not_found")
    assert "in this project" not in f"{said['title']} {said['detail']}"


async def test_the_log_says_who_from_where_and_for_which_request(
    api: Api, operator: httpx.AsyncClient
) -> None:
    hook = {"url": "https://hooks.example/T0/secret-path?token=abc"}
    made = await api.client.post("/v1/webhooks", json=hook, headers={
        "x-request-id": "order-17", "x-forwarded-for": "6.6.6.6, 203.0.113.9",
    })  # fmt: skip
    assert made.status_code == 201, made.text
    where = f"/v1/webhooks/{made.json()['id']}"
    await api.client.patch(where, json={"rate_limit": 5})
    await api.client.patch(where, json={"rate_limit": 5})
    lines = (await api.client.get("/v1/audit", params={"subject": made.json()["id"]})).json()[
        "data"
    ]
    assert [each["action"] for each in lines] == ["webhook.changed", "webhook.created"]
    changed, created = lines
    assert (changed["before"], changed["after"]) == ({"rate_limit": None}, {"rate_limit": 5})
    actor = created["actor"]
    assert (actor["type"], actor["address"], actor["request_id"]) == (
        "key", "203.0.113.9", "order-17",
    )  # fmt: skip
    assert created["after"]["origin"] == "https://hooks.example"
    for secret in ("secret-path", "token", made.json()["secret"]):
        assert secret not in str(lines)
    mine = await logged(operator, subject=made.json()["id"])
    assert mine == lines


async def test_a_project_sees_its_own_lines_and_no_operator(
    api: Api, operator: httpx.AsyncClient
) -> None:
    stranger = await api.another_project()
    await operator.patch(f"{SHOP}/{own(api)}", json={"in_flight_cap": 7})
    (line,) = (await api.client.get("/v1/audit?action=project.limits_changed")).json()["data"]
    assert line["actor"] == {
        "type": "operator", "key_id": None, "name": None, "address": None, "request_id": None,
    }  # fmt: skip
    (whole,) = await logged(operator, action="project.limits_changed")
    actor = whole["actor"]
    assert isinstance(actor, dict)
    assert (actor["type"], actor["request_id"]) == ("operator", "night-1")
    theirs = (await api.client.get("/v1/audit", headers=stranger)).json()["data"]
    assert own(api) not in str(theirs)
    page = (await api.client.get("/v1/audit", params={"limit": 1})).json()
    rest = (await api.client.get("/v1/audit", params={"cursor": page["next_cursor"]})).json()
    seqs = [each["seq"] for each in page["data"] + rest["data"]]
    assert seqs == sorted(seqs, reverse=True)
    assert {each["project_id"] for each in page["data"] + rest["data"]} == {own(api)}
    problem(await api.client.get("/v1/audit?cursor=nope"), 422, "invalid_request")


async def test_an_operator_signs_in_to_the_page(api: Api) -> None:
    key = (await api.operator())["authorization"].removeprefix("Bearer ")
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as browser:
        signed = await browser.post("/session", json={"key": key})
        assert signed.status_code == 201, signed.text
        said = signed.json()
        assert (said["scopes"], said["project"]["id"]) == (["operator"], None)
        state = await browser.get("/v1/operator/state")
        assert state.status_code == 200
        problem(await browser.get("/v1/jobs"), 403, "scope_missing")
        stop = await browser.post(
            "/v1/operator/pause", json={}, headers={"x-csrf-token": said["csrf_token"]}
        )
        assert stop.status_code == 200
        lines = (await browser.get("/v1/operator/audit")).json()["data"]
    assert [each["action"] for each in lines[:2]] == ["pause.began", "session.opened"]
    assert {each["actor"]["type"] for each in lines[:2]} == {"operator"}
