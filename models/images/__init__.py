"""Images: the store, what is kept in it, references that come in with a submission, and files.

Owns the object store, the rows of kept images and of files, formats, signed URLs (`urls`), the decoding of
hostile bytes in a child process, and the garbage collection of blobs (`collector`).
Promises: a blob lies under the hash of its bytes, is written before a row refers to it, and is
deleted only when no row of its project can refer to it again. Never decodes an image in this
process.
"""

__all__ = [
    "collector",
    "fetches",
    "files",
    "formats",
    "measuring",
    "pictures",
    "records",
    "reference_sizes",
    "references",
    "storage",
    "store_errors",
    "urls",
]
