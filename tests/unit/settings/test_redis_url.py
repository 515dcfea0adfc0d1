import pytest

from models.settings.redis_url import RedisUrl


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
        ("sentinel://a/3?master_name=main", (("a", 26_379),), "main", {"db": 3}, None),
        ("redis+sentinel://a/1?service_name=0", (("a", 26_379),), "0", {"db": 1}, None),
        (
            "sentinel://:word@a/2;sentinel://:word@b/2?master_name=main",
            (("a", 26_379), ("b", 26_379)),
            "main",
            {"password": "word", "db": 2},
            None,
        ),
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
    ("url", "why"),
    [
        ("", "its scheme is none of Redis"),
        ("127.0.0.1:6379", "its scheme is none of Redis"),
        ("http://h:6379", "its scheme is none of Redis"),
        ("redis://:hidden@h:port/0", None),
        ("redis://:hidden@h:99999/0", None),
        ("redis://:hidden@h:0/0", "port 0"),
        ("redis://:hid/den@h:6379/0", None),
        ("redis://:hid#den@h:6379/0", "a # is written %23"),
        ("redis://:hidden@h/zero", "its database is no number"),
        ("redis://a,b/0", "several servers, and no sentinels"),
        ("redis+sentinel://a,,b/main", "a server is empty"),
        ("redis+sentinel://a:26379", "it names no service"),
        ("redis+sentinel://a:26379/", "it names no service"),
        ("redis+sentinel://a:26379/0", "it names no service"),
        ("redis+sentinel://a:26379/0/0", "it names no service"),
        (
            "redis+sentinel://a/main/0?service_name=other",
            "its path and its query name different services",
        ),
        ("redis+sentinel://:hidden@a,:hidden@b/main", "more than one login"),
        (
            "sentinel://:hidden@a;sentinel://:hid@b/main",
            "its servers have different logins or paths",
        ),
        ("redis://h?ssl_ca_certs=/run/ca.pem", "options of TLS, which is rediss://"),
        ("redis://h?db=zero", None),
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(url: str, why: str | None) -> None:
    with pytest.raises(ValueError, match="not a URL of Redis") as refused:
        RedisUrl.parse(url)
    said = str(refused.value)
    assert said.startswith(
        f"not a URL of Redis{f' ({why})' if why else ''}; give redis://:password@"
    )
    assert said.endswith("redis+sentinel://host:26379,host:26379/service/0")
    assert "hid" not in said


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
