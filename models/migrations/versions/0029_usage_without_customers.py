"""Keep what was used in each hour by all customers together, for reports that name none.

A trigger keeps it: so dispatchers of the version before keep it too, which fold into `usage_hours` alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_COUNTED = (
    "submitted",
    "succeeded",
    "failed",
    "canceled",
    "expired",
    "attempts",
    "charged",
    "saved",
)
_OF = "project_id, hour, key_id, model"
_SIGNED = ", ".join(f"sum(sign * {each})" for each in _COUNTED)
_ADDED = ", ".join(f"{each} = usage_totals.{each} + excluded.{each}" for each in _COUNTED)


def _add(rows: str) -> str:
    return f"""
        INSERT INTO usage_totals ({_OF}, {", ".join(_COUNTED)})
        SELECT {_OF}, {_SIGNED} FROM ({rows}) moved GROUP BY {_OF} ORDER BY {_OF}
        ON CONFLICT ({_OF}) DO UPDATE SET {_ADDED}
    """  # noqa: S608 - constants of this file


_CAME, _GONE = "SELECT 1 AS sign, * FROM came", "SELECT -1 AS sign, * FROM gone"
_FUNCTION = f"""
CREATE FUNCTION usage_hours_total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN {_add(_CAME)};
    WHEN 'DELETE' THEN {_add(_GONE)};
    ELSE {_add(f"{_GONE} UNION ALL {_CAME}")};
    END CASE;
    RETURN NULL;
END $$
"""
# A statement at a time: an hour of a thousand customers is added once. Only one event may have such tables.
_TRIGGERS = {
    "INSERT": "NEW TABLE AS came",
    "UPDATE": "OLD TABLE AS gone NEW TABLE AS came",
    "DELETE": "OLD TABLE AS gone",
}


def upgrade() -> None:
    op.create_table(
        "usage_totals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        *(
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
            for name in _COUNTED
        ),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_usage_totals_key_id_api_keys")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_usage_totals_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_totals")),
        sa.UniqueConstraint(
            "project_id",
            "hour",
            "key_id",
            "model",
            postgresql_nulls_not_distinct=True,
            name=op.f("uq_usage_totals_project_id_hour_key_id_model"),
        ),
    )
    op.execute(_FUNCTION)
    # Whoever writes into the table waits from here on, and is counted by the trigger; the others are below.
    for event, tables in _TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER usage_hours_total_{event.lower()} AFTER {event} ON usage_hours"
            f" REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION usage_hours_total()"
        )
    op.execute(_add("SELECT 1 AS sign, * FROM usage_hours"))


def downgrade() -> None:
    for event in _TRIGGERS:
        op.execute(f"DROP TRIGGER usage_hours_total_{event.lower()} ON usage_hours")
    op.execute("DROP FUNCTION usage_hours_total()")
    op.drop_table("usage_totals")
