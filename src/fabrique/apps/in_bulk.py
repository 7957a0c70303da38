"""Many rows by one statement, which the database prepares once.

`bulk_create` and `bulk_update` write the text of every row anew, and all its columns: five times as long (ADR 19).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from django.db import connection, models


def insert(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[int | str]]) -> None:
    """Whole rows as the table takes them, by the names of its columns. No instance of them is made."""
    columns, marks = ", ".join(_quoted(names)), ", ".join(["%s"] * len(names))
    _run(f"INSERT INTO {_table(model)} ({columns}) VALUES ({marks})", rows)  # noqa: S608 (no value in it)


def rewrite(objects: Sequence[models.Model], names: Collection[str]) -> None:
    """These fields of rows of one model that are there; of one that is gone nothing is written."""
    if not objects:
        return
    model = type(objects[0])
    told = [field for field in model._meta.concrete_fields if field.name in names]
    sets = ", ".join(f"{column} = %s" for column in _quoted(_column(field) for field in told))
    (key,) = _quoted([_column(model._meta.pk)])
    _run(
        f"UPDATE {_table(model)} SET {sets} WHERE {key} = %s",  # noqa: S608 (no value in it)
        ([_value(field, one) for field in (*told, model._meta.pk)] for one in objects),
    )


def _column(field: models.Field[Any, Any]) -> str:
    return str(field.column)


def _value(field: models.Field[Any, Any], one: models.Model) -> Any:
    return field.get_db_prep_save(getattr(one, field.attname), connection)


def _table(model: type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _quoted(names: Iterable[str]) -> list[str]:
    return [connection.ops.quote_name(name) for name in names]


def _run(statement: str, rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(statement, list(rows))
