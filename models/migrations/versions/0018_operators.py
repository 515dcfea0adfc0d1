"""Add a plane of the operators' own: keys, an audit log, processes, the limit over time."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TIME, _NOW = sa.DateTime(timezone=True), sa.func.now()

# The line's place and its hash: of the hash before it, and of what it says. Deferred to the commit, so that
# the row of the head is held for one commit at a time and no other lock is waited for behind it.
_SEAL = """
CREATE FUNCTION audit_log_seal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE place bigint; link bytea;
BEGIN
    SELECT seq + 1, hash INTO place, link FROM audit_head WHERE id = 1 FOR UPDATE;
    IF place IS NULL THEN
        INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '') ON CONFLICT (id) DO NOTHING;
        SELECT seq + 1, hash INTO place, link FROM audit_head WHERE id = 1 FOR UPDATE;
    END IF;
    link := sha256(link || convert_to(jsonb_build_array(place, NEW.id,
        to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), NEW.acting, NEW.key_id,
        NEW.name, NEW.address, NEW.request_id, NEW.project_id, NEW.action, NEW.subject,
        NEW.before, NEW.after)::text, 'UTF8'));
    UPDATE audit_head SET seq = place, hash = link WHERE id = 1;
    UPDATE audit_log SET seq = place, hash = link WHERE id = NEW.id;
    RETURN NULL;
END $$
"""

_REFUSE = """
CREATE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.seq IS NULL
       AND to_jsonb(NEW) - 'seq' - 'hash' = to_jsonb(OLD) - 'seq' - 'hash' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only: no % of it', TG_OP
          USING ERRCODE = 'insufficient_privilege';
END $$
"""

_TRIGGERS = (
    """CREATE CONSTRAINT TRIGGER audit_log_seal AFTER INSERT ON audit_log
       DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_log_seal()""",
    """CREATE TRIGGER audit_log_keep BEFORE UPDATE OR DELETE ON audit_log
       FOR EACH ROW EXECUTE FUNCTION audit_log_refuse()""",
    """CREATE TRIGGER audit_log_keep_all BEFORE TRUNCATE ON audit_log
       FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()""",
)


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=True),
        sa.Column("at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("acting", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=True),
        sa.Column("after", postgresql.JSONB(), nullable=True),
        sa.CheckConstraint(
            "acting IN ('key', 'session', 'operator', 'command', 'darkroom')",
            name=op.f("ck_audit_log_acting"),
        ),
        sa.CheckConstraint("(seq IS NULL) = (hash IS NULL)", name=op.f("ck_audit_log_sealed")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        sa.UniqueConstraint("seq", name=op.f("uq_audit_log_seq")),
    )
    op.create_index(
        "ix_audit_log_project_id",
        "audit_log",
        ["project_id", "seq"],
        postgresql_where=sa.text("project_id IS NOT NULL"),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    for statement in (_SEAL, _REFUSE, *_TRIGGERS):
        op.execute(statement)
    op.create_table(
        "processes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("seen_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processes")),
    )
    op.create_table(
        "limit_samples",
        sa.Column("at", _TIME, nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("in_flight", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("at", name=op.f("pk_limit_samples")),
    )
    op.alter_column("api_keys", "project_id", nullable=True)
    op.create_check_constraint(
        op.f("ck_api_keys_operators_has_none"),
        "api_keys",
        "(project_id IS NULL) = ('operator' = ANY (scopes))",
    )
    op.create_check_constraint(
        op.f("ck_api_keys_operators_is_one"),
        "api_keys",
        "project_id IS NOT NULL OR cardinality(scopes) = 1",
    )
    for name in ("suspended_at", "deleted_at", "emptied_at"):
        op.add_column("projects", sa.Column(name, _TIME, nullable=True))
    op.add_column("projects", sa.Column("suspended_reason", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_projects_emptied_is_deleted"),
        "projects",
        "emptied_at IS NULL OR deleted_at IS NOT NULL",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_projects_emptied_is_deleted"), "projects", type_="check")
    for name in ("suspended_reason", "emptied_at", "deleted_at", "suspended_at"):
        op.drop_column("projects", name)
    op.drop_constraint(op.f("ck_api_keys_operators_is_one"), "api_keys", type_="check")
    op.drop_constraint(op.f("ck_api_keys_operators_has_none"), "api_keys", type_="check")
    op.execute("DELETE FROM api_keys WHERE project_id IS NULL")
    op.alter_column("api_keys", "project_id", nullable=False)
    op.drop_table("limit_samples")
    op.drop_table("processes")
    op.drop_table("audit_head")
    op.drop_table("audit_log")
    op.execute("DROP FUNCTION audit_log_seal(); DROP FUNCTION audit_log_refuse()")
