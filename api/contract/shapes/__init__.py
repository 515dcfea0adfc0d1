"""What crosses the wire outwards: for OpenAPI, so that clients can be made from it.

Owns a model for each answer, a file for each noun.
No answer is built from these, for the busiest are written straight from rows; every answer that a test of
the API receives is held against them. They are open where they are read: a later version may add fields.
"""

from api.contract.shapes.actions import Action, ActionPage, ActionPreview
from api.contract.shapes.batches import (
    Batch,
    BatchItems,
    BatchPage,
    BatchQuote,
    ResultRow,
    Submitted,
    TakenBatch,
)
from api.contract.shapes.catalog import Model, ModelList
from api.contract.shapes.erasures import Erasure, ErasurePage
from api.contract.shapes.explanations import Explanation
from api.contract.shapes.files import File, FileDeleted, FilePage
from api.contract.shapes.generations import Generated
from api.contract.shapes.jobs import Job, JobCost, JobError, JobPage, SharedImage
from api.contract.shapes.keys import ApiKey, ApiKeyList, ApiKeyWithSecret
from api.contract.shapes.money import Budget, BudgetList, LedgerPage, Quote, UsageReport
from api.contract.shapes.now import Now
from api.contract.shapes.operators import (
    AuditPage,
    LimitHistory,
    OperatedKey,
    OperatedKeyPage,
    OperatedProject,
    OperatedProjectPage,
    PauseList,
    Probed,
    ResolvedCharge,
    UnknownChargePage,
)
from api.contract.shapes.parts import Credits, EndpointId, JobId, JobStatus, Usd
from api.contract.shapes.problems import FieldProblem, Health, Problem
from api.contract.shapes.state import InstallationState, SetAsideList
from api.contract.shapes.webhooks import (
    Delivery,
    DeliveryPage,
    Endpoint,
    EndpointHealth,
    EndpointList,
    EndpointWithSecret,
    Replay,
    RotatedSecret,
    Secret,
    TestDelivery,
)

__all__ = [
    "Action",
    "ActionPage",
    "ActionPreview",
    "ApiKey",
    "ApiKeyList",
    "ApiKeyWithSecret",
    "AuditPage",
    "Batch",
    "BatchItems",
    "BatchPage",
    "BatchQuote",
    "Budget",
    "BudgetList",
    "Credits",
    "Delivery",
    "DeliveryPage",
    "Endpoint",
    "EndpointHealth",
    "EndpointId",
    "EndpointList",
    "EndpointWithSecret",
    "Erasure",
    "ErasurePage",
    "Explanation",
    "FieldProblem",
    "File",
    "FileDeleted",
    "FilePage",
    "Generated",
    "Health",
    "InstallationState",
    "Job",
    "JobCost",
    "JobError",
    "JobId",
    "JobPage",
    "JobStatus",
    "LedgerPage",
    "LimitHistory",
    "Model",
    "ModelList",
    "Now",
    "OperatedKey",
    "OperatedKeyPage",
    "OperatedProject",
    "OperatedProjectPage",
    "PauseList",
    "Probed",
    "Problem",
    "Quote",
    "Replay",
    "ResolvedCharge",
    "ResultRow",
    "RotatedSecret",
    "Secret",
    "SetAsideList",
    "SharedImage",
    "Submitted",
    "TakenBatch",
    "TestDelivery",
    "UnknownChargePage",
    "UsageReport",
    "Usd",
]
