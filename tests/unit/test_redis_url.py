import pytest

from models.redis_url import RedisUrl


@pytest.mark.parametrize(
    ("url", "servers", "service", "options", "ssl"),
    [
        ("redis://127.0.0.1", (("127.0.0.1", 6379),), None, {"db": 0}, None),
        ("redis://", (("localhost", 6379),), None, {"db": 0}, None),
        ("redis://[::1]:7000/3", (("::1", 7000),), None, {"db": 3}, None),
        (
            "redis://me:p%40ss%2F@h:1/2",
            (("h", 1),),
            None,
            {"username": "me", "password": "p@ss/", "db": 2},
            None,
        ),
        ("rediss://:word@h", (("h", 6379),), None, {"password": "word", "db": 0}, {}),
        (
            "rediss://h/1?ssl_ca_certs=/run/ca.pem&ssl_cert_reqs=none",
            (("h", 6379),),
            None,
            {"db": 1},
            {"ssl_ca_certs": "/run/ca.pem", "ssl_cert_reqs": "none"},
        ),
        (
            "redis+sentinel://:word@a,b:26380,[::1]:26381/main/4",
            (("a", 26_379), ("b", 26_380), ("::1", 26_381)),
            "main",
            {"password": "word", "db": 4},
            None,
        ),
        (
            "sentinel://a:1;sentinel://b:2/0?master_name=main",
            (("a", 1), ("b", 2)),
            "main",
            {"db": 0},
            None,
        ),
        ("rediss+sentinel://a/main", (("a", 26_379),), "main", {"db": 0}, {}),
    ],
)
def test_a_url_names_the_servers_and_how_to_reach_them(
    url: str,
    servers: tuple[tuple[str, int], ...],
    service: str | None,
    options: dict[str, object],
    ssl: dict[str, object] | None,
) -> None:
    found = RedisUrl.parse(url)
    assert (found.servers, found.service) == (servers, service)
    assert (found.options, found.ssl) == (options, ssl)


def test_sentinels_may_have_a_password_of_their_own() -> None:
    found = RedisUrl.parse("redis+sentinel://:word@a/main?sentinel_password=other")
    assert found.options == {"password": "word", "db": 0}
    assert found.sentinel_options == {"password": "other"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        "http://h:6379",
        "redis://:hidden@h:port/0",
        "redis://:hidden@h:99999/0",
        "redis://:hid/den@h:6379/0",
        "redis://:hidden@h/zero",
        "redis://a,b/0",
        "redis+sentinel://a:26379",
        "redis://h?ssl_ca_certs=/run/ca.pem",
        "redis://h?db=zero",
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL of Redis") as refused:
        RedisUrl.parse(url)
    assert "hid" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379/0"),
        ("redis://:p%40ss@h:1/2", "redis://:p%40ss@h:1/2"),
        ("rediss://me:word@[::1]", "rediss://me:word@[::1]:6379/0"),
        (
            "redis+sentinel://:word@a,b:2/main/4",
            "sentinel://:word@a:26379/4;sentinel://:word@b:2/4",
        ),
    ],
)
def test_celery_gets_it_in_its_own_form(url: str, broker: str) -> None:
    assert RedisUrl.parse(url).celery_url() == broker
