"""The operator plane, `/v1/operator/…`: what one who runs Darkroom sees and does, over all projects.

Promises: every route demands an operator's key, by its router (`plane`). What is here is also a command
of `python -m models`; the rules are in `models.operating`.
"""

from api.routes.operator import actions, projects, state

ROUTERS = (projects.router, actions.router, actions.of_all, state.router)

__all__ = ["ROUTERS"]
