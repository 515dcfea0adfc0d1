"""From a body to a checked submission: of one job, of a group, or as a retry of a finished job."""

__all__ = ["groups", "naming", "retries", "submission", "sweeping", "uploading"]
