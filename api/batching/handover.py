"""What goes to the child that judges rows, and what comes back: as JSON, in both directions."""

import json
from dataclasses import asdict
from datetime import datetime
from ipaddress import ip_network

from api.batching.terms import Report, Terms
from api.contract.requests.batches import BatchHead
from models import errors
from models.errors import FieldError, InvalidRequest, Refusal
from models.provider.rates import Known, Variant


def write_terms(terms: Terms) -> bytes:
    """Write terms for the child."""
    told = {
        "kind": terms.kind,
        "defaults": terms.defaults,
        "prices": {model: asdict(known) for model, known in terms.prices.items()},
        "opened": [str(each) for each in terms.opened],
        "ports": sorted(terms.ports),
        "max_cost": terms.max_cost,
        "stop_after": terms.stop_after,
        "now": terms.now.isoformat(),
    }
    return json.dumps(told).encode()


def read_terms(told: bytes) -> Terms:
    """Read them back."""
    said = json.loads(told)
    said["opened"] = tuple(ip_network(each) for each in said["opened"])
    said["now"] = datetime.fromisoformat(said["now"])
    for each in said["prices"].values():
        each["variants"] = tuple(Variant(**variant) for variant in each["variants"])
    said["prices"] = {model: Known(**each) for model, each in said["prices"].items()}
    return Terms(**said | {"ports": frozenset(said["ports"])})


def write_report(report: Report) -> bytes:
    """Write the report of a batch that was judged whole."""
    return json.dumps({
        "total": report.total,
        "bad": report.bad,
        "estimated": report.estimated,
        "held": list(report.held.items()),
        "errors": [asdict(each) for each in report.errors],
        "head": report.head.model_dump(mode="json", exclude_unset=True),
    }).encode()  # fmt: skip


def write_refusal(refused: Refusal) -> bytes:
    """Write why a batch could not be judged whole."""
    fields = [asdict(each) for each in refused.errors]
    told = {"refused": refused.code, "detail": refused.detail, "errors": fields}
    return json.dumps(told).encode()


def read(told: bytes) -> Report:
    """Read a report; raises the refusal that came instead."""
    said = json.loads(told)
    fields = [FieldError(**each) for each in said["errors"]]
    if "refused" in said:
        kinds = {each.code: each for each in errors.refusals()}
        kind = kinds.get(said["refused"], InvalidRequest)
        raise kind(said["detail"], errors=tuple(fields))
    return Report(
        total=said["total"],
        bad=said["bad"],
        estimated=said["estimated"],
        held=dict(said["held"]),
        errors=fields,
        head=BatchHead.model_validate(said["head"]),
    )
