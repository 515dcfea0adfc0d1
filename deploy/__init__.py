"""How Darkroom runs: the local stack, the provider simulator, and the files for servers."""
