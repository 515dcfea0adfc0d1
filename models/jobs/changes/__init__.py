"""Changes: what every change of a job that is seen from outside is made of.

`moving` has the lock, the UPDATE by which `version` grows, and the ways back to the queue; `announcing`
writes the event and its deliveries; `tallying` counts endings for Prometheus.
Promises: all who watch a job are told of each change after its commit. Decides nothing.
"""

__all__ = ["announcing", "moving", "tallying"]
