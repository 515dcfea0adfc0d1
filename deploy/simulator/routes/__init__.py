"""The routes: the provider's own (calls, account, catalogue, images), and the witness below `/_simulator/`.

Each reads a request, asks the world, and answers as the provider does.
"""

__all__ = ["account", "catalog", "generate", "images", "witness"]
