"""What makes no sense is refused by the chart in a sentence, and not by a pod that does not start."""

import pytest

from tests.chart import charts
from tests.chart.charts import Refused, Values

PLAIN: Values = charts.values()
ROLE = "roles.worker.scaling"
BAD: dict[str, tuple[Values, str]] = {
    "no secret": (PLAIN | {"secrets": {}}, "secrets.existingSecret is empty: name the Secret with"),
    "no url": (PLAIN | {"publicUrl": ""}, "publicUrl is empty: say where callers reach the api"),
    "no store": (PLAIN | {"storage": {}}, "images need a bucket"),
    "two stores": (
        PLAIN | {"storage": {"url": "s3://images", "existingClaim": "images"}},
        "are both set: images are kept in one of them",
    ),
    "a folder": (PLAIN | {"storage": {"url": "/images"}}, "at '/storage/url'"),
    "keda blind": (PLAIN | {"scaling": {"mode": "keda"}}, "scaling.prometheus is empty: KEDA asks"),
    "unknown mode": (PLAIN | {"scaling": {"mode": "karpenter"}}, "at '/scaling/mode'"),
    "a secret in the open": (
        PLAIN | {"settings": {"AIMLAPI_KEY": "k"}},
        "settings.AIMLAPI_KEY is a secret: put it into the Secret",
    ),
    "the chart's own": (
        PLAIN | {"settings": {"DARKROOM_GRACE": 10}},
        "settings.DARKROOM_GRACE: the chart sets it",
    ),
    "a mistyped name": (PLAIN | {"replicas": 3}, "additional properties 'replicas' not allowed"),
    "a mistyped setting": (PLAIN | {"settings": {"darkroom_grace": 1}}, "darkroom_grace"),
    "an unknown setting": (
        PLAIN | {"settings": {"DARKROOM_NOPE": 1}},
        "settings.DARKROOM_NOPE: there is no such setting",
    ),
    "no room for a new pod": (
        PLAIN | {"roles": {"worker": {"maxSurge": "0%"}}},
        "roles.worker.maxSurge is 0%: no pod goes before a new one has come",
    ),
    "no new pod": (
        PLAIN | {"roles": {"api": {"maxSurge": 0}}},
        "roles.api.maxSurge is 0: no pod goes",
    ),
    "an api that nobody finds": (
        PLAIN | {"roles": {"api": {"port": {"name": "metrics"}}}},
        "roles.api.port.name is metrics: Service and network policy find this role by the name http",
    ),
    "a worker that nobody finds": (
        PLAIN | {"roles": {"worker": {"port": {"name": "http"}}}},
        "roles.worker.port.name is http:",
    ),
    "min over max": (
        PLAIN | {"roles": {"worker": {"scaling": {"min": 9}}}},
        f"{ROLE}.max (6) is less than its min (9)",
    ),
    "a fallback outside": (
        PLAIN | {"roles": {"worker": {"scaling": {"fallback": 1}}}},
        f"{ROLE}.fallback (1) is not between its min (2) and max (6)",
    ),
    "a long stop": (
        PLAIN | {"roles": {"api": {"preStopSeconds": 30}}},
        "leaves too little of the 20 s",
    ),
    "a trial with secrets": (
        PLAIN | {"trial": {"enabled": True}},
        "a trial brings secrets of its own",
    ),
    "an ingress to nowhere": (PLAIN | {"ingress": {"enabled": True}}, "ingress.host is empty"),
    "a route from nowhere": (
        PLAIN | {"httpRoute": {"enabled": True, "host": "h"}},
        "httpRoute.parents is empty: name the Gateway",
    ),
    "a short grace": (PLAIN | {"grace": 5}, "at '/grace'"),
    "a receiver's path": (
        PLAIN | {"tracing": {"endpoint": "http://otel:4318/v1/traces"}},
        "at '/tracing/endpoint'",
    ),
    "a receiver's key in the open": (
        PLAIN | {"settings": {"OTEL_EXPORTER_OTLP_HEADERS": "k=v"}},
        "settings.OTEL_EXPORTER_OTLP_HEADERS is a secret",
    ),
    "more than all": (PLAIN | {"tracing": {"ratio": 1.5}}, "at '/tracing/ratio'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_sense_is_refused_in_a_sentence(name: str) -> None:
    given, said = BAD[name]
    with pytest.raises(Refused) as refused:
        charts.render(given)
    assert said in " ".join(str(refused.value).split())
