"""Darkroom on servers as operators have them: Debian's PostgreSQL, Redis and pgbouncer, and S3.

`make servers` runs all of it, `make test` what this machine has the programs for; what is missing is a
skipped test that says which package brings it.
"""
