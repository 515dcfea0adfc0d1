"""The tests: first of all, what makes loading them cheap."""

import gc

# Until everything is loaded (`conftest` says when) there is no garbage: looking for it takes a fifth.
gc.set_threshold(100_000, 50, 50)
