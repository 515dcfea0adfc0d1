"""What all routers of the operator plane have in common."""

from fastapi import APIRouter

from api.contract.openapi.refusals import REFUSALS
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import ANY_OPERATOR


def router(prefix: str = "") -> APIRouter:
    """Return a router below `/v1/operator`, whose routes any operator may call and nobody else."""
    return APIRouter(
        prefix=f"/v1/operator{prefix}",
        tags=["operator"],
        responses=REFUSALS,
        route_class=JsonRoute,
        dependencies=ANY_OPERATOR,
    )
