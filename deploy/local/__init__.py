"""The whole of Darkroom on one machine, without Docker: `python -m deploy.local up`."""
