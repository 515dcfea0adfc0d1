"""What the platform asks, and the pages that people read."""

from collections.abc import Iterator

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from models.provider import catalog
from models.settings import Settings
from tests.conftest import PLAIN
from tests.integration.api.client import PRICE, Api
from tests.integration.api.conftest import Serve


@pytest.fixture
async def stranger(api: Api) -> httpx.AsyncClient:
    """A client without a key: the platform has none."""
    return httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN)


@pytest.fixture
def empty_database(database_url: str) -> Iterator[SecretStr]:
    """A database that was never migrated; returns its URL."""
    name = f"{database_url.rpartition('/')[2]}_empty"
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        yield SecretStr(f"{database_url.rpartition('/')[0]}/{name}")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def test_the_platform_needs_no_key(stranger: httpx.AsyncClient) -> None:
    async with stranger:
        for path in ("/healthz", "/readyz"):
            answer = await stranger.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert answer.headers["x-request-id"]


async def test_metrics_count_answers_by_route_and_never_by_id(
    api: Api, stranger: httpx.AsyncClient
) -> None:
    job = await api.submit()
    await api.job(job)
    async with stranger:
        answer = await stranger.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    counted = 'darkroom_http_requests_total{method="GET",route="/v1/jobs/{id}",status="200"}'
    assert counted in answer.text
    assert "job_0" not in answer.text


async def test_without_its_schema_a_process_lives_and_is_not_ready(
    settings: Settings, serving: Serve, empty_database: SecretStr
) -> None:
    bare = settings.model_copy(update={"database_url": empty_database})
    async with serving(bare) as api:
        unready = await api.client.get("/readyz")
        assert unready.status_code == 503
        assert "python -m models migrate" in unready.json()["detail"]
        assert (await api.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "more", "why"),
    [
        ("password", "", "password authentication failed"),
        ("port", "", "Connection refused"),
        ("dbname", "", 'database "1" does not exist'),
        (
            "",
            "?options=-cdefault_transaction_read_only%3Don",
            "leads to a replica, or to a read-only",
        ),
    ],
)
async def test_a_process_that_never_saw_its_database_is_not_ready_and_says_why(
    settings: Settings, serving: Serve, wrong: str, more: str, why: str
) -> None:
    right = conninfo_to_dict(settings.database_url.get_secret_value())
    given = right | {wrong: "1"}
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**given) + more
    async with serving(settings.model_copy(update={"database_url": SecretStr(url)})) as api:
        for _ in range(2):
            unready = await api.client.get("/readyz")
            assert unready.status_code == 503
            assert unready.json()["detail"].startswith("DATABASE_URL leads to ")
            assert why in unready.json()["detail"]
            assert (await api.client.get("/healthz")).status_code == 200


async def test_a_draining_process_is_not_ready_and_still_answers(api: Api) -> None:
    api.state.waiting.drain()
    unready = await api.client.get("/readyz")
    assert (unready.status_code, unready.json()["detail"]) == (503, "draining")
    assert (await api.client.get("/healthz")).status_code == 200
    await api.submit()


async def test_the_catalog_shows_rules_and_price(api: Api) -> None:
    listed = (await api.client.get("/v1/models")).json()
    first, *others = catalog.models()
    assert [each["id"] for each in listed["data"]] == [first.id]
    assert [each["id"] for each in listed["unavailable"]] == [each.id for each in others]
    assert "quotes no price" in listed["unavailable"][0]["reason"]
    first = listed["data"][0]
    assert first["price"] == {"credits": PRICE, "per": "image", "variants": []}
    assert first["rules"]["image_size"]["named"] == ["2K", "4K"]
    assert first["rules"]["image_urls"] == {"max": 14}
    assert "prompt" in first["rules"]["input"]["properties"]


async def test_the_description_and_its_page_need_no_key(stranger: httpx.AsyncClient) -> None:
    async with stranger:
        described = await stranger.get("/openapi.json")
        page = await stranger.get("/docs")
    assert described.json()["openapi"].startswith("3.1")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "openapi.json" in page.text
