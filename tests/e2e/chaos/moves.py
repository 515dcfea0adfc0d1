"""A witness inside Postgres: a trigger that writes down every move of a job, whoever made it.

It is no part of Darkroom and Darkroom does not know of it. From its rows follow I7 (only the arrows of
the diagram, and a terminal state is final), the fences, and how long a takeover took.
"""

from dataclasses import dataclass
from datetime import datetime

from tests.e2e.stage import TERMINAL, Stage

_WITNESS = """
    CREATE TABLE moves (
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, job uuid NOT NULL,
        was text, status text NOT NULL, phase text NOT NULL, was_fence bigint, fence bigint NOT NULL,
        was_attempt bigint, attempt bigint NOT NULL, was_lease timestamptz
    );
    CREATE FUNCTION write_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO moves (at, job, was, status, phase, was_fence, fence, was_attempt, attempt, was_lease)
        SELECT clock_timestamp(), NEW.id, OLD.status, NEW.status, NEW.phase, OLD.fence, NEW.fence,
               OLD.attempt, NEW.attempt, OLD.lease_until;
        RETURN NULL;
    END $$;
    CREATE TRIGGER moved AFTER UPDATE ON jobs FOR EACH ROW
        WHEN ((OLD.status, OLD.phase, OLD.fence, OLD.attempt, OLD.finished_at, OLD.error)
              IS DISTINCT FROM
              (NEW.status, NEW.phase, NEW.fence, NEW.attempt, NEW.finished_at, NEW.error))
        EXECUTE FUNCTION write_move();
    CREATE TABLE answers (
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, job uuid NOT NULL,
        number bigint NOT NULL, worker text NOT NULL, outcome text, error text
    );
    CREATE FUNCTION write_answer() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO answers (at, job, number, worker, outcome, error)
        SELECT clock_timestamp(), NEW.job_id, NEW.number, NEW.worker, NEW.outcome, NEW.error->>'code';
        RETURN NULL;
    END $$;
    CREATE TRIGGER called AFTER INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION write_answer();
    CREATE TRIGGER answered AFTER UPDATE ON attempts FOR EACH ROW
        WHEN (OLD.outcome IS DISTINCT FROM NEW.outcome) EXECUTE FUNCTION write_answer();
    CREATE FUNCTION write_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO answers (at, job, number, worker, outcome)
        SELECT clock_timestamp(), NEW.job_id, NEW.attempt, '', 'kept';
        RETURN NULL;
    END $$;
    CREATE TRIGGER kept AFTER INSERT ON images FOR EACH ROW EXECUTE FUNCTION write_kept();
    CREATE TABLE closures (at timestamptz NOT NULL, reason text NOT NULL, closed boolean NOT NULL);
    CREATE FUNCTION write_closure() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO closures
        SELECT clock_timestamp(), coalesce(NEW.reason, OLD.reason), TG_OP = 'INSERT';
        RETURN NULL;
    END $$;
    CREATE TRIGGER gate AFTER INSERT OR DELETE ON gates FOR EACH ROW EXECUTE FUNCTION write_closure();
"""

# From, to, and how much the fence grows: the diagram of `models/jobs/__init__.py`.
_ARROWS = {
    ("queued", "released", 1),
    ("released", "queued", 0),  # reaped, or handed back
    ("released", "running", 0),
    ("running", "queued", 0),  # retried, parked, taken back
    ("running", "running", 0),  # the image is paid: call → keep
    ("queued", "running", 1),  # a late image is adopted
    ("released", "running", 1),
    *((status, end, 0) for status in ("queued", "running") for end in TERMINAL),
    # Succeeded without having run: with a late image whose bytes were kept just then.
    *(("released", end, 0) for end in ("succeeded", "canceled", "expired")),
}


@dataclass(frozen=True)
class Takeover:
    """From the end of a dead owner's lease to the next dispatch."""

    job: str
    was: str  # `released`: its message was lost; `running`: its worker
    expired: datetime
    back: datetime
    released: datetime

    @property
    def seconds(self) -> float:
        """How long the job was nobody's."""
        return (self.released - self.expired).total_seconds()


def witness(stage: Stage) -> None:
    """Begin to write down every move; before the first job."""
    stage.execute(_WITNESS)


def wrong(stage: Stage) -> list[str]:
    """Return the moves that are no arrow of the diagram, and odd steps of a fence or an attempt."""
    found = stage.rows(
        "SELECT n, job, was, status, fence - was_fence, attempt - was_attempt, phase FROM moves ORDER BY n"
    )
    bad = []
    for n, job, was, status, fence, attempt, phase in found:
        begins = (was, status, fence, phase) == ("released", "running", 0, "call")
        # Elsewhere the number of the attempt stays, or goes back to the one whose image came late.
        counted = attempt == 1 if begins else int(str(attempt)) <= 0
        if (was, status, fence) not in _ARROWS or not counted:
            bad.append(f"move {n} of {job}: {was} → {status}, fence +{fence}, attempt +{attempt}")
    return bad


def paid_again(stage: Stage) -> list[str]:
    """Return the calls that began after an image of their job had been received: nobody may pay again.

    An image that came while a later call was under way already is a late image, and saves the next call
    once its bytes are kept. Whoever writes an attempt or an image holds the row of its job, so the order of
    the rows is the order of events.
    """
    rows = stage.rows("""
        SELECT DISTINCT began.job, began.number FROM answers began
          JOIN answers image ON image.job = began.job AND image.n < began.n
         WHERE began.outcome IS NULL AND (image.outcome = 'kept' OR image.outcome = 'image'
           AND NOT EXISTS (SELECT FROM answers later WHERE later.job = image.job
                              AND later.number > image.number AND later.n < image.n))
    """)
    return [f"{job}:{number}" for job, number in rows]


def given_up(stage: Stage) -> list[tuple[str, int]]:
    """Return the calls whose workers were believed dead, and the process ids of these workers."""
    return [
        (f"{job}:{number} at {_moment(at):%T}", int(str(worker).split("-")[-2]))
        for job, number, at, worker in stage.rows(
            "SELECT job, number, at, worker FROM answers WHERE error = 'worker_lost'"
        )
    ]


def takeovers(stage: Stage) -> list[Takeover]:
    """Return every takeover of a job whose lease had run out, and that was dispatched again."""
    rows = stage.rows("""
        SELECT back.job, back.was, back.was_lease, back.at, next.at FROM moves back
          JOIN LATERAL (SELECT at, status FROM moves WHERE job = back.job AND n > back.n
                         ORDER BY n LIMIT 1) next ON next.status = 'released'
         WHERE back.status = 'queued' AND back.was IN ('released', 'running')
           AND back.was_lease < back.at
         ORDER BY back.n
    """)
    return [
        Takeover(str(job), str(was), *(_moment(at) for at in times)) for job, was, *times in rows
    ]


def closures(stage: Stage) -> list[tuple[datetime, datetime]]:
    """Return the times in which a gate was closed, for whatever reason."""
    spans, closed = [], dict[str, datetime]()
    for at, reason, closes in stage.rows("SELECT at, reason, closed FROM closures ORDER BY at"):
        if closes:
            closed.setdefault(str(reason), _moment(at))
        elif str(reason) in closed:
            spans.append((closed.pop(str(reason)), _moment(at)))
    return spans


def _moment(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value
