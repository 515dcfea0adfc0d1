"""Hold manifests against their schemas: YAML documents on stdin, and a line for each that is amiss.

Kubernetes' own kinds by kubernetes-validate, strictly; KEDA's and the Prometheus operator's by typed
models, in which fields that nobody knows are refused too. HTTPRoute has no schema in either.
"""

import sys

import kubernetes_validate
import yaml
from cloudcoil.models import keda, prometheus_operator
from pydantic import BaseModel, ConfigDict, ValidationError

UNKNOWN = {"HTTPRoute"}
MODELS = {
    "ScaledObject": keda.v1alpha1.ScaledObject,
    "ServiceMonitor": prometheus_operator.v1.ServiceMonitor,
    "PrometheusRule": prometheus_operator.v1.PrometheusRule,
}


def strict(model: type[BaseModel], seen: set[type[BaseModel]]) -> None:
    """Let a model and all that it is made of refuse fields that they do not have."""
    if model in seen:
        return
    seen.add(model)
    model.model_config = ConfigDict(**{**model.model_config, "extra": "forbid"})
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            strict(part, seen)
    model.model_rebuild(force=True)


def parts(annotation: object) -> list[type[BaseModel]]:
    """Find the models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in getattr(annotation, "__args__", ()) for each in parts(part)]


def trouble(document: dict[str, object]) -> str | None:
    """Return what is wrong with a manifest, in one line."""
    kind = str(document["kind"])
    try:
        if kind in MODELS:
            MODELS[kind].model_validate(document)
        elif kind not in UNKNOWN:
            kubernetes_validate.validate(document, "1.37", strict=True)
    except (ValidationError, kubernetes_validate.ValidationError) as wrong:
        return " ".join(str(wrong).split())
    return None


if __name__ == "__main__":
    found: set[type[BaseModel]] = set()
    for each in MODELS.values():
        strict(each, found)
    for manifest in yaml.safe_load_all(sys.stdin):
        if manifest and (wrong := trouble(manifest)):
            print(f"{manifest['kind']} {manifest['metadata']['name']}: {wrong}")
