"""The base of every table: how types and constraints are named."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, LargeBinary, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase

type_map = {
    str: Text,
    int: BigInteger,
    bytes: LargeBinary,
    datetime: DateTime(timezone=True),
    UUID: Uuid,
    list[str]: ARRAY(Text),
    list[UUID]: ARRAY(Uuid),
    dict[str, object]: JSONB,
    list[dict[str, object]]: JSONB,
    dict[str, str]: JSONB,
}


class Base(DeclarativeBase):
    """Every table; constraints are named by convention, so that migrations can name them too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = type_map
