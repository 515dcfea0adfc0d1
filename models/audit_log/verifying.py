"""Verifying the audit log: each line's hash is of the hash before it and of what the line says.

A trigger computes them when a line is committed; here they are computed anew. Who owns the tables can write
a whole chain anew. So keep its end somewhere else as well: `verify` tells it, and looks whether an end
that was kept before is still a part of the chain.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from sqlalchemy import text

from models import ids
from models.platform.db import Database

_BATCH = 5_000  # lines


@dataclass(frozen=True, slots=True)
class End:
    """The end of a chain: the place of its last line, and that line's hash in hex."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(slots=True)
class Verdict:
    """How many lines were read, what is wrong with the chain in words, and where it ends."""

    lines: int = 0
    wrong: list[str] = field(default_factory=list)
    end: End = End(0, "")


async def verify(database: Database, expected: End | None = None) -> Verdict:
    """Read the log to its present end, and name each line that was changed, moved, inserted, or is missing.

    `expected` is the end of a chain that was told before.
    """
    verdict, link, at_expected = Verdict(), b"", ""
    async with database.transaction() as tx:
        end = (await tx.execute(_END)).one()
    while True:
        asked = {"after": verdict.end.seq, "until": end.seq, "limit": _BATCH}
        async with database.transaction() as tx:
            rows = (await tx.execute(_LINES, asked)).all()
        for row in rows:
            _judge(verdict, row.seq, row.id, row.hash, _hash(link, row.said))
            link = row.hash
            verdict.end = End(row.seq, row.hash.hex())
            verdict.lines += 1
            if expected is not None and row.seq == expected.seq:
                at_expected = row.hash.hex()
        if len(rows) < _BATCH:
            break
    _judge_end(verdict, End(end.seq, end.hash.hex()), end.unsealed, end.beyond)
    if expected is not None and at_expected != expected.hash:
        verdict.wrong.append(
            f"line {expected.seq} is not as it was told before: the log was cut short, or written anew"
        )
    return verdict


def _hash(link: bytes, said: str) -> bytes:
    return sha256(link + said.encode()).digest()


def _judge(verdict: Verdict, seq: int, id_: object, found: bytes, right: bytes) -> None:
    due = verdict.end.seq + 1
    if seq > due:
        missing = f"line {due} is" if seq == due + 1 else f"lines {due} to {seq - 1} are"
        verdict.wrong.append(f"{missing} missing: removed")
    elif found != right:  # behind a gap nobody knows the hash before
        name = ids.text(ids.AUDIT, id_)  # type: ignore[arg-type]  # a row's columns have no type
        verdict.wrong.append(f"line {seq} ({name}) was changed, moved or inserted")


def _judge_end(verdict: Verdict, end: End, unsealed: int, beyond: int) -> None:
    if unsealed:
        verdict.wrong.append(f"{unsealed} lines have no place in the chain: inserted past it")
    if beyond:
        verdict.wrong.append(f"{beyond} lines stand behind line {end.seq}, the last: inserted")
    if verdict.end.seq < end.seq:
        verdict.wrong.append(f"lines {verdict.end.seq + 1} to {end.seq} are missing: removed")
    elif verdict.end != end:
        verdict.wrong.append(f"the end of the log is written as {end}, and is {verdict.end}")


# What a line's hash is of, as the trigger has it.
_LINES = text("""
    SELECT seq, id, hash, jsonb_build_array(
               seq, id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), acting, key_id,
               name, address, request_id, project_id, action, subject, before, after)::text AS said
      FROM audit_log WHERE seq > :after AND seq <= :until ORDER BY seq LIMIT :limit
""")

_END = text("""
    SELECT coalesce(head.seq, 0) AS seq, coalesce(head.hash, '') AS hash,
           (SELECT count(*) FROM audit_log WHERE seq IS NULL) AS unsealed,
           (SELECT count(*) FROM audit_log WHERE seq > coalesce(head.seq, 0)) AS beyond
      FROM (SELECT 1) AS one LEFT JOIN audit_head head ON head.id = 1
""")
