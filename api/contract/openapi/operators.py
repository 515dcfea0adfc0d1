"""What the operator plane and the audit log answer."""

from api.contract import shapes
from api.contract.openapi.answers import Responses, answer

AUDIT = answer(shapes.AuditPage, "A page, newest first.")
PROJECT = answer(shapes.OperatedProject, "The project as it is now.")
PROJECT_MADE = answer(shapes.OperatedProject, "The project.", status=201)
PROJECT_GOES = answer(
    shapes.OperatedProject, "Its keys have ended; the rest is deleted bit by bit.", status=202
)
PROJECTS = answer(shapes.OperatedProjectPage, "A page, newest first.")
KEYS = answer(shapes.OperatedKeyPage, "A page, newest first.")
KEY = answer(shapes.OperatedKey, "The key as it is now.")
STATE = answer(shapes.InstallationState, "How everything stands now.")
HISTORY = answer(shapes.LimitHistory, "A sample for each minute, the oldest first.")
PAUSES = answer(shapes.PauseList, "All that is paused now.")
PROBED = answer(shapes.Probed, "The next job tries it.")
CHARGES = answer(shapes.UnknownChargePage, "A page, newest first.")
RESOLVED = answer(shapes.ResolvedCharge, "What it is now.")
SET_ASIDE = answer(shapes.SetAsideList, "All of them, up to a thousand.")
EVIDENCE: Responses = {200: {
    "description": "The beginning of the answer, as it came.", "content": {"text/plain": {}},
}}  # fmt: skip
