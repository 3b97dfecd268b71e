"""Only `render.lifecycle` writes the state of a render: a look through the product's sources."""

import ast
from collections.abc import Iterator

import pytest

from tests import ROOT

PACKAGES = ("accounts", "creatorify", "projects", "render")
WRITERS = ROOT / "render" / "lifecycle"
MAKERS = {"create", "bulk_create", "get_or_create", "update_or_create", "bulk_update"}
OTHER_MODELS = {"Asset"}  # They have a state of their own.


def state_writes(source: str) -> Iterator[int]:
    """The lines that make or save a render, or write a state that is not plainly of another model."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and is_writing_call(node):
            yield node.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            is_state = any(isinstance(target, ast.Attribute) and target.attr == "state" for target in targets)
            if is_state and is_of_render(node.value):
                yield node.lineno
        elif isinstance(node, ast.Dict):  # Of `update(**changes)`.
            for key, value in zip(node.keys, node.values, strict=True):
                is_state = isinstance(key, ast.Constant) and key.value == "state" and "State" in names_in(value)
                if is_state and is_of_render(value):
                    yield node.lineno


def is_writing_call(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in MAKERS and "Render" in names_in(call.func):
        return True
    if name == "setattr":
        return any(isinstance(argument, ast.Constant) and argument.value == "state" for argument in call.args)
    states = [keyword.value for keyword in call.keywords if keyword.arg == "state"]
    return name in {"update", "Render"} | MAKERS and any(map(is_of_render, states))


def is_of_render(value: ast.expr) -> bool:
    return not names_in(value) & OTHER_MODELS


def names_in(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def test_only_the_lifecycle_writes_a_render_s_state() -> None:
    writes = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "migrations" not in path.parts and WRITERS not in path.parents
        for line in state_writes(path.read_text())
    ]
    assert writes == []


def test_the_lifecycle_itself_has_one_place_for_it() -> None:
    """`enter_state`, and the renders of another service, which come with their end."""
    writes = {f"{path.name}:{line}" for path in WRITERS.glob("*.py") for line in state_writes(path.read_text())}
    assert {write.partition(":")[0] for write in writes} == {"transitions.py", "submission.py"}
    assert len(writes) == 4


@pytest.mark.parametrize(
    "source",
    [
        "Render.objects.filter(pk=pk).update(state=State.QUEUED)",
        "renders.update(progress=1, state=new)",
        "render.state = State.FAILED",
        "render.state: str = 'failed'",
        "setattr(render, 'state', new)",
        "Render(tenant=tenant, state=State.FINISHED)",
        "Render.objects.create(tenant=tenant)",
        "Render.objects.bulk_create(renders)",
        "queryset.update(**{'state': State.CANCELED})",
    ],
)
def test_a_write_is_noticed(source: str) -> None:
    assert list(state_writes(source)) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "Render.objects.filter(state=State.QUEUED).update(progress=1)",
        "Asset.objects.filter(pk=pk).update(state=Asset.State.READY)",
        "Asset.objects.create(state=Asset.State.READY)",
        "Render(tenant=tenant)",
    ],
)
def test_what_writes_no_render_s_state_is_left_alone(source: str) -> None:
    assert list(state_writes(source)) == []
