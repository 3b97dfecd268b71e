"""The release before goes on working on a database that was migrated already: new columns must not be missed by it."""

import pytest
from django.db import connection, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AddField, AlterField, CreateModel, DeleteModel, RemoveField, RenameField

# Each stands for all migrations before version 0.2; from there on there is a release before.
FIRST = {"accounts": 1, "render": 1, "projects": 1}


def later_operations():
    made: set[tuple[str, str]] = set()
    graph = MigrationLoader(connection).graph
    for key in sorted(key for key in graph.nodes if key[0] in FIRST and int(key[1][:4]) > FIRST[key[0]]):
        for operation in graph.nodes[key].operations:
            if isinstance(operation, CreateModel):
                made.add((key[0], operation.name_lower))
            yield key, operation, made


def unsafe(app: str, operation, made) -> bool:
    if isinstance(operation, DeleteModel | RemoveField | RenameField):
        return True
    if not isinstance(operation, AddField) or (app, operation.model_name_lower) in made:
        return False
    field = operation.field
    return not field.null and field.db_default is models.NOT_PROVIDED


@pytest.mark.django_db
def test_what_the_release_before_writes_is_still_taken() -> None:
    found = list(later_operations())

    assert found
    assert [(key, operation) for key, operation, made in found if unsafe(key[0], operation, made)] == []


def test_the_check_itself_finds_what_is_unsafe() -> None:
    required = AddField("Render", "x", models.CharField(max_length=3, default=""))

    assert unsafe("render", required, set())
    assert not unsafe("render", required, {("render", "render")})
    assert not unsafe("render", AddField("Render", "x", models.CharField(max_length=3, db_default="")), set())
    assert not unsafe("render", AddField("Render", "x", models.CharField(max_length=3, null=True)), set())
    assert not unsafe("render", AlterField("Render", "x", models.TextField()), set())
    assert unsafe("render", RemoveField("Render", "x"), set())
