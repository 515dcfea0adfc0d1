"""Running: what happens to a job while a worker has it, from the start of a call to what its answer means.

`starting` begins an attempt under a lease, which `leasing` renews; `affording` finds its money. `keeping`,
`receiving`, `succeeding` and `postponing` follow an image, `answering` every other answer, `reaping` a
worker that is gone; `readmitting` is for jobs that waited for room in a budget.
Promises: the attempt is committed before its call is sent, what an answer says is written down before
anything else, and nobody pays again for a job that has its image. Never opens a connection.
"""

__all__ = [
    "affording",
    "answering",
    "keeping",
    "leasing",
    "postponing",
    "readmitting",
    "reaping",
    "receiving",
    "starting",
    "succeeding",
]
