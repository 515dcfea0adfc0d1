import re

import pytest
from psycopg.conninfo import conninfo_to_dict

from models.platform.db import SESSION, conninfo
from models.settings import postgres_url

HOST = "postgresql://shop:hid%3Fden@127.0.0.1"


@pytest.mark.parametrize(
    "rest",
    [
        "/shop",
        ":6432/shop?sslmode=require&application_name=mine",
        "/shop?sslrootcert=system&sslmode=verify-full",
        "/shop?connect_timeout=3&options=-csearch_path%3Dshop",
        ",127.0.0.2:5433/shop?target_session_attrs=read-write&load_balance_hosts=random",
        "/shop?host=/run/postgresql",
        "/shop?channel_binding=prefer&gssencmode=disable",
    ],
)
def test_what_libpq_takes_is_taken(rest: str) -> None:
    postgres_url.demand(HOST + rest)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("/shop?pool_size=5", "libpq does not take its option pool_size"),
        ("/shop?sslmode=require&schema=public", "libpq does not take its option schema"),
        ("/shop?sslmode", "libpq does not take its option sslmode"),
        ("/shop?sslmode=perhaps", 'invalid sslmode value: "perhaps"'),
        ("/shop?channel_binding=yes", 'invalid channel_binding value: "yes"'),
        ("/shop?load_balance_hosts=on", 'invalid load_balance_hosts value: "on"'),
        ("/shop?service=shop", 'definition of service "shop" not found'),
        ("/shop?sslnegotiation=direct", "weak sslmode"),
        ("/shop?port=1,2,3", "could not match 3 port numbers to 1 hosts"),
        ("/shop?connect_timeout=soon", "its connect_timeout is not a number"),
        ("/shop?keepalives_idle=1m", "its keepalives_idle is not a number"),
        ("/shop?sslrootcert=/nowhere/ca.pem", "its sslrootcert names a file that is not there"),
        ("/shop?target_session_attrs=standby", "its target_session_attrs is none of any, "),
        (":0/shop", "not the URL of a database"),
        ("/shop?password=hid%zzden", "libpq does not take its option password"),
        ("/shop?hid?den", "not the URL of a database"),
    ],
)
def test_what_libpq_refuses_is_named_before_anybody_connects(rest: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        postgres_url.demand(HOST + rest)
    assert "hid" not in str(refused.value)


def test_what_a_url_says_is_kept_but_for_what_each_session_is_told() -> None:
    url = f"{HOST}/shop?options=-csearch_path%3Dshop%20-cjit%3Don&connect_timeout=3"
    told = conninfo_to_dict(conninfo(url, "darkroom-api"))
    assert (told["connect_timeout"], told["tcp_user_timeout"]) == ("3", "10000")
    assert told["fallback_application_name"] == "darkroom-api"
    said = [each.strip() for each in str(told["options"]).split("-c ") if each]
    assert said[0] == "-csearch_path=shop -cjit=on"
    assert {name: value for name, _, value in (each.partition("=") for each in said[1:])} == {
        name: value.replace(" ", r"\ ") for name, value in SESSION.items()
    }
