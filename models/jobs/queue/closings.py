"""What a closed gate says to the projects whose calls it holds: no details, which tell of other calls."""

from models.schema import Gate

_TO_ALL = {
    "provider_down": "The provider answers with errors or not at all, so only a probe is sent",
    "wallet_empty": "The wallet at the provider is empty, so nothing is sent until it is filled",
    "provider_key": "The provider does not accept our key, so nothing is sent until it is put right",
    "storage": "Our own store takes no images, so nothing is sent until it does",
}
_TO_ONE = {
    "provider_down": "Calls of this project have gone wrong one after the other, so only a probe is sent",
    "wallet_empty": "The provider says that the wallet is empty, and its account does not answer, so "
    "nothing of this project is sent until it does",
}


def words(gate: Gate) -> str:
    """Return a sentence, without its full stop."""
    said = _TO_ALL if gate.project_id is None else _TO_ONE
    return said.get(gate.reason, "Nothing is sent")
