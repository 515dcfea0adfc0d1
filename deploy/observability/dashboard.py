"""The dashboard as Grafana reads it: `python -m deploy.observability.dashboard > …/dashboard.json`.

Twelve panels, from what a customer sees to what an operator looks after. Gauges that every dispatcher shows
alike are taken by `max`, counters are summed.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3
_ROUTES = 'route!~"/readyz|/healthz|/metrics",namespace=~"$namespace"'
_HERE = 'namespace=~"$namespace"'
_FAILED = f'status=~"5..",{_ROUTES}'
_DELIVERED = f'state="delivered",{_HERE}'
_ACCEPTED = f'method="POST",route="/v1/jobs",{_HERE}'


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: its unit as Grafana names it, and its queries by their legend."""

    title: str
    unit: str
    queries: Mapping[str, str]


def _max(metric: str, by: str = "", labels: str = _HERE) -> str:
    return f"max{f' by ({by})' if by else ''} ({metric}{{{labels}}})"


def _rate(metric: str, by: str = "", labels: str = _HERE) -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{labels}}}[$__rate_interval]))"


def _quantile(q: float, metric: str, labels: str = _HERE) -> str:
    return f"histogram_quantile({q}, {_rate(f'{metric}_bucket', 'le', labels)})"


PANELS = (
    Panel("Oldest runnable job, by priority", "s",
          {"{{priority}}": _max("darkroom_jobs_oldest_runnable_seconds", "priority")}),
    Panel("Jobs that wait, by reason", "short",
          {"{{reason}}": _max("darkroom_jobs_waiting", "reason")}),
    Panel("Calls in flight beside the limit", "short",
          {"in flight": _max("darkroom_provider_calls"), "limit": _max("darkroom_provider_limit"),
           "slots of workers": _max("darkroom_generate_slots"),
           "wanted: {{kind}}": _max("darkroom_slots_wanted", "kind")}),
    Panel("What jobs and calls come to, per second", "ops",
          {"job {{status}}": _rate("darkroom_jobs_finished_total", "status"),
           "call {{outcome}}": _rate("darkroom_attempts_total", "outcome")}),
    Panel("Duration of calls beside their timeout", "s",
          {"p50": _quantile(0.5, "darkroom_call_seconds"),
           "p95": _quantile(0.95, "darkroom_call_seconds"),
           "timeout, {{size}}": _max("darkroom_call_timeout_seconds", "size")}),
    Panel("Accepting jobs: p99, and answers 5xx", "s",
          {"p99 of POST /v1/jobs": _quantile(
              0.99, "darkroom_http_seconds", _ACCEPTED),
           "5xx of all": f"({_rate('darkroom_http_requests_total', labels=_FAILED)} or vector(0))"
           f" / {_rate('darkroom_http_requests_total', labels=_ROUTES)}"}),
    Panel("Webhooks: share that is delivered, and lag", "s",
          {"delivered": f"{_rate('darkroom_webhook_tries_total', labels=_DELIVERED)}"
           f" / {_rate('darkroom_webhook_tries_total')}",
           "latest one is late by": _max("darkroom_deliveries_overdue_seconds")}),
    Panel("Unknown charges, and the age of the oldest", "s",
          {"unknown": _max("darkroom_charges_unknown"),
           "oldest": _max("darkroom_charges_unknown_oldest_seconds"),
           "expected by": _max("darkroom_charges_unknown_expected_seconds")}),
    Panel("Credits an hour, and hours that the wallet lasts", "short",
          {"credits an hour": f"3600 * {_rate('darkroom_credits_charged_total')}",
           "hours left": f"{_max('darkroom_wallet_seconds_left')} / 3600"}),
    Panel("Books: differences, drift, charges of nobody", "short",
          {"differences": _max("darkroom_audit_differences"),
           "price drifts": _max("darkroom_price_drifts"),
           "charges of nobody": _max("darkroom_provider_unmatched_charges")}),
    Panel("Leases taken over, per hour", "short",
          {"{{of}}": f"3600 * {_rate('darkroom_leases_taken_over_total', 'of')}",
           "failures of duties": f"3600 * {_rate('darkroom_duty_failures_total')}"}),
    Panel("Store, Redis and Postgres", "short",
          {"store refused, per hour: {{operation}}":
           f"3600 * {_rate('darkroom_store_errors_total', 'operation')}",
           "hears Redis (1)": f"min (darkroom_redis_connected{{{_HERE}}})",
           "waits for Postgres": f"sum (darkroom_database_waiting{{{_HERE}}})"}),
)  # fmt: skip


def written(panels: Sequence[Panel] = PANELS) -> str:
    """Return the dashboard as JSON text."""
    board = {
        "title": "Darkroom",
        "uid": "darkroom",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _namespace()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(board, indent=1) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, object]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expr, "legendFormat": legend}
            for place, (legend, expr) in enumerate(panel.queries.items())
        ],
    }


def _datasource() -> dict[str, object]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus"}


def _namespace() -> dict[str, object]:
    # Outside of Kubernetes there is no such label, and `.*` selects what has none.
    return {
        "name": "namespace",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": "label_values(darkroom_build_info, namespace)",
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    sys.stdout.write(written())
