"""Schema of a file that states only its number of points."""

from __future__ import annotations

from pathlib import Path

from lightmark.errors import DataError
from lightmark.schema import SCHEMAS, Schema, plain_schema

_USUAL = {schema.size: schema for schema in SCHEMAS.values()}


def schema_for(count: int, schema: Schema | None, where: str | Path) -> Schema:
    """`schema` if it has `count` points; if it is None, the default schema of that many points.

    68, 98 and 29 points are IBUG68, WFLW98 and COFW29, other counts a plain schema. Raises `DataError` naming `where`
    if `schema` has another number of points.
    """
    usual = _USUAL.get(count)
    if schema is None:
        return usual or plain_schema(count)
    if schema.size != count:
        hint = f"a {usual.name} file? pass that schema" if usual else f"pass a schema of {count} points, or none"
        raise DataError(f"{where}: {count} points, {schema.name} needs {schema.size}; {hint}")
    return schema
