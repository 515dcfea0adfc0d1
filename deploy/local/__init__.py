"""The whole of Darkroom on one machine, without Docker: `python -m deploy.local up`.

`stack` puts it together: `servers` (Postgres, Valkey), `roles` kept alive by `supervisor`, and the `demo`.
Promises: only 127.0.0.1, nothing left running at the end, and a data folder that survives it.
"""
