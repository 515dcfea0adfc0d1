"""`python -m worker.compare`: what the provider has changed of the schemas that the catalog keeps.

It asks the provider that `AIMLAPI_BASE_URL` names for each model's present schema, costs nothing, and
changes nothing: what it prints is for whoever renews a file of `models/provider/published/`.
"""
