"""From a body to a submission that is checked in every rule, new or as a retry of a finished job."""

__all__ = ["retries", "submission", "sweeping"]
