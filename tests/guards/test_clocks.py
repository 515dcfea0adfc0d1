"""A worker's clock may be ten minutes wrong: only the database's clock decides who has a job until when."""

import ast
from pathlib import Path

from tests.guards import sources

CLOCKS = {"now", "utcnow", "today", "time", "time_ns"}
OWNERS = {"datetime", "date", "time"}

# Who looks at this machine's clock, and why ten minutes more or less do no harm there.
MAY = {
    "api/routes/images.py": "a signed URL lives for days",
    "api/sharing/watching.py": "what screens are told; they miss what a wrong clock did",
    "api/routes/webhooks.py": "shows which of two secrets signs, for a day",
    "models/webhooks/deliveries/replaying.py": "the time that a ping tells",
    "models/webhooks/deliveries/taking.py": "which of two secrets signs, for a day",
    "models/webhooks/endpoints/registering.py": "rotates a secret, for a day",
    "models/jobs/changes/announcing.py": "the time that an event tells; a terminal one has the job's own",
    "models/jobs/batches/telling.py": "the time that an event tells",
    "models/jobs/charges/charging.py": "from which ids on to look again at charges, by days",
    "models/webhooks/notices.py": "the time that a notice tells",
    "models/money/prices/learning.py": "from which ids on to learn prices, by hours",
    "models/accounts/projects.py": "rotates a secret, for a day",
    "models/webhooks/resealing.py": "which old secrets still sign, for a day",
    "models/money/wallet.py": "from which ids on to look at calls, by an hour",
    "worker/deliver.py": "a webhook's timestamp, and a Retry-After that is a date",
    "worker/referring.py": "a signed URL lives for an hour, and a call for minutes",
    "worker/dispatcher/duties/dispatching.py": "when a span began; the SDK tells its end by the same clock",
    "worker/dispatcher/account/absence.py": "how far to read the provider's log: never less than to now",
    "worker/provider/reading/answers.py": "a Retry-After that is a date, where the answer has no date",
}


def looks(path: Path) -> bool:
    """Return whether a file asks this machine what time it is."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in CLOCKS
        and isinstance(node.value, ast.Name)
        and node.value.id in OWNERS
        for node in sources.nodes(path)
    )


def test_nobody_else_asks_this_machine_what_time_it_is() -> None:
    found = {sources.name(path) for path in sources.files(*sources.CODE) if looks(path)}
    assert found == set(MAY)
