"""Small changes of a module's meaning, each of which a test should notice."""

import ast
import difflib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.equivalent import EQUIVALENT

COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
# Against a clock the very moment cannot be met, so what is changed is the direction.
AGAINST_A_CLOCK: dict[type[ast.cmpop], str] = {ast.Lt: ">", ast.LtE: ">=", ast.Gt: "<", ast.GtE: "<="}
CLOCKS = ("monotonic()", "timezone.now()", "now -", "moment")
CALCULATED: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "//",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}
# Without one of their arguments these calls still work, and mean something else.
LOSES_ARGUMENTS = {
    "filter", "exclude", "get", "update", "create", "bulk_create", "select_for_update", "Q", "Sum", "Count", "When",
    "IdempotentResponse", "WebhookEvent",
}  # fmt: skip
# Calls that are left out of a chain: a.filter(x).first() becomes a.first().
LEFT_OUT = {"filter", "exclude", "order_by", "select_for_update", "distinct", "strip", "lower"}
OTHER_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "Least": "Greatest", "Greatest": "Least"}
IN_SQL = {"'minute'": "'second'", "1 minute": "1 second", " = ": " <> ", " + ": " - ", "THEN known": "THEN 0 * known"}
# Says something to people or to a log; what the program does is the same.
SAYS = {"ServiceError", "RuntimeError", "debug", "info", "warning", "error", "critical", "exception"}
NOT_LOOKED_AT = {"__str__", "__repr__"}


@dataclass(frozen=True)
class Change:
    path: str  # relative to the root of the tree
    kind: str
    start: int  # offsets in the text of the module
    end: int
    text: str  # what stands there instead
    lines: tuple[int, int]  # first and last, of the statement's own part; what its blocks hold is not in it
    # Of the block whose execution shows the change: where a decorator or a default is changed, that of the function.
    shown_in: tuple[int, int]
    in_function: bool
    within: str = ""  # the function
    name: str = ""  # which is given another value, of a module's constant

    def apply(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]

    def diff(self, source: str) -> list[str]:
        """The changed lines, with - and + before them."""
        old, new = source.splitlines(), self.apply(source).splitlines()
        lines = list(difflib.unified_diff(old, new, lineterm="", n=0))[2:]
        return [line for line in lines if not line.startswith("@@")]

    def words(self, source: str) -> str:
        """The change without its place, so that it is known again when lines have moved."""
        return " ".join(" ".join(self.diff(source)).split())


class _Finder(ast.NodeVisitor):
    def __init__(self, path: str, source: str) -> None:
        self._path, self._source = path, source
        self._bytes = [line.encode() for line in source.splitlines(keepends=True)]
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts
        self.found: list[Change] = []
        self._statement: ast.stmt | None = None
        self._functions: list[ast.FunctionDef] = []

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._bytes[line - 1][:column].decode())

    def _span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _add(self, kind: str, start: int, end: int, text: str, *, block: ast.stmt | None = None) -> None:
        statement = self._statement
        assert statement is not None and statement.end_lineno is not None
        body = getattr(statement, "body", None)
        first, last = statement.lineno, body[0].lineno - 1 if body else statement.end_lineno
        last = max(first, last)
        lines = shown = (first, last)
        if isinstance(statement, ast.FunctionDef):
            decorators = [decorator.lineno for decorator in statement.decorator_list]
            lines, block = (min([first, *decorators]), last), statement
        if block is not None:
            shown = (block.body[0].lineno, block.end_lineno)  # type: ignore[attr-defined]
        constant = not self._functions and isinstance(statement, ast.Assign | ast.AnnAssign)
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        name = targets[0].id if constant and isinstance(targets[0], ast.Name) else ""
        inside = bool(self._functions) or isinstance(statement, ast.FunctionDef)
        function = statement if isinstance(statement, ast.FunctionDef) else self._functions[-1] if inside else None
        within = function.name if function else ""
        self.found.append(Change(self._path, kind, start, end, text, lines, shown, inside, within, name))

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            outer, self._statement = self._statement, node
            self._visit_statement(node)
            self._statement = outer
        else:
            super().visit(node)

    # Statements

    def _visit_statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
            return
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef):
            self._visit_function(node)
            return
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                self.visit(statement)
            return
        if self._functions:
            self._leave_out(node)
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.visit(node.value)
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        self.generic_visit(node)

    def _visit_function(self, node: ast.FunctionDef) -> None:
        if node.name in NOT_LOOKED_AT:
            return
        for decorator in node.decorator_list:
            if "atomic" in ast.unparse(decorator):
                start, end = self._span(decorator)
                self._add("atomic dropped", start - 1, end, "# no atomic")
            elif isinstance(decorator, ast.Call):
                self.visit(decorator)
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        self._functions.append(node)
        for statement in node.body:
            self.visit(statement)
        self._functions.pop()

    def _leave_out(self, node: ast.stmt) -> None:
        start, end = self._span(node)
        value = node.value if isinstance(node, ast.Expr | ast.Return) else None
        if isinstance(value, ast.Call) and _called(value) in SAYS:
            return
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant | ast.Yield | ast.YieldFrom):
            self._add("statement dropped", start, end, "pass")
        elif isinstance(node, ast.Raise):
            self._add("raise dropped", start, end, "pass")
        elif isinstance(node, ast.AugAssign) or (
            isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
        ):
            self._add("statement dropped", start, end, "pass")
        elif isinstance(node, ast.Return) and node.value is not None:
            self._change_returned(node.value)
        elif isinstance(node, ast.Return | ast.Continue | ast.Break):
            self._add("statement dropped", start, end, "pass")
        elif isinstance(node, ast.If):
            self._negate(node.test)
            if not node.orelse and not _only_says(node.body):
                self._add("block dropped", *self._span(node.test), "False")
        elif isinstance(node, ast.While):
            self._add("loop dropped", *self._span(node.test), "False")
        elif isinstance(node, ast.With):
            for item in node.items:
                if "atomic" in ast.unparse(item.context_expr):
                    start, end = self._span(item.context_expr)
                    text = '__import__("contextlib").nullcontext()'
                    self._add("atomic dropped", start, end, text, block=node)
        elif isinstance(node, ast.Try):
            self._change_handlers(node)

    def _change_handlers(self, node: ast.Try) -> None:
        for handler in node.handlers:
            first, last = handler.body[0], handler.body[-1]
            if isinstance(last, ast.Raise) or any(isinstance(inner, ast.Raise) for inner in ast.walk(last)):
                continue  # Its dropped `raise` is a change of its own.
            start, end = self._span(first)[0], self._span(last)[1]
            outer, self._statement = self._statement, first
            self._add("error not caught", start, end, "raise", block=node)
            self._statement = outer

    def _change_returned(self, value: ast.expr) -> None:
        start, end = self._span(value)
        if isinstance(value, ast.Constant):
            return  # visit_Constant does.
        if isinstance(value, ast.Compare | ast.BoolOp) or (
            isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)
        ):
            self._negate(value)
        else:
            self._add("nothing returned", start, end, "None")

    def _negate(self, test: ast.expr) -> None:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Is | ast.IsNot):
            return  # visit_Compare does.
        start, end = self._span(test)
        self._add("condition negated", start, end, f"not ({self._source[start:end]})")

    # Expressions

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for operation, right in zip(node.ops, node.comparators, strict=True):
            start, end = self._span(left)[1], self._span(right)[0]
            between = self._source[start:end]
            # A bracket around one side belongs to neither.
            closing = between[: len(between) - len(between.lstrip(") \n"))]
            opening = between[len(between.rstrip("( \n")) :]
            read = f"{ast.unparse(left)} {ast.unparse(right)}"
            clock = any(name in read for name in CLOCKS)
            other = (AGAINST_A_CLOCK if clock else {}).get(type(operation)) or COMPARED[type(operation)]
            text = f"{closing.rstrip()} {other} {opening.lstrip()}"
            self._add("comparison changed", start, end, text)
            left = right
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = (" and ", " or ") if isinstance(node.op, ast.And) else (" or ", " and ")
        for left, right in zip(node.values, node.values[1:], strict=False):
            start, end = self._span(left)[1], self._span(right)[0]
            between = self._source[start:end]
            spaced = between.replace(old.strip(), new.strip())
            if spaced != between:
                self._add("and/or swapped", start, end, spaced)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        start, end = self._span(node)
        inner = self._span(node.operand)[0]
        if isinstance(node.op, ast.Not | ast.Invert | ast.USub):
            self._add("not dropped", start, inner, "")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        start, end = self._span(node.left)[1], self._span(node.right)[0]
        between = self._source[start:end]
        signs = between.replace("(", " ").replace(")", " ").strip()
        other = CALCULATED.get(type(node.op))
        if other and not isinstance(node.left, ast.JoinedStr) and not isinstance(node.op, ast.Pow):
            self._add("operator changed", start, end, between.replace(signs, other))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in OTHER_NAMES:
            start, end = self._span(node)
            self._add("function changed", start, end, OTHER_NAMES[node.id])

    def visit_Constant(self, node: ast.Constant) -> None:
        start, end = self._span(node)
        value = node.value
        if isinstance(value, bool):
            self._add("constant changed", start, end, str(not value))
        elif isinstance(value, int | float):
            self._add("constant changed", start, end, _other_number(value))
        elif isinstance(value, str) and value.startswith("-") and len(value) > 1:
            self._add("order reversed", start, end, f'"{value[1:]}"')

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        start, end = self._span(node)
        text = self._source[start:end]
        if "INSERT INTO" not in text:
            return
        for word, other in IN_SQL.items():
            place = text.find(word)
            while place >= 0:
                at = start + place
                self._add("SQL changed", at, at + len(word), other)
                place = text.find(word, place + 1)

    def visit_Call(self, node: ast.Call) -> None:
        name = _called(node)
        if name in SAYS:
            return
        if name in LOSES_ARGUMENTS and len(node.args) + len(node.keywords) > 1:
            for argument in [*node.args, *node.keywords]:
                if isinstance(argument, ast.Starred):
                    continue
                start, end = self._span(argument)
                after = self._source[end:]
                comma = len(after) - len(after.lstrip(", \n")) if after.lstrip().startswith(",") else 0
                self._add("argument dropped", start, end + comma, "")
        if isinstance(node.func, ast.Attribute) and name in LEFT_OUT and not isinstance(node.func.value, ast.Name):
            start, end = self._span(node.func.value)[1], self._span(node)[1]
            self._add("call dropped", start, end, ".all()" if _is_manager(node.func.value) else "")
        elif isinstance(node.func, ast.Attribute) and name in ("filter", "exclude", "order_by", "select_for_update"):
            start, end = self._span(node.func.value)[1], self._span(node)[1]
            self._add("call dropped", start, end, ".all()")
        self.generic_visit(node)


def _is_manager(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("objects", "segments", "attempts", "takes")


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _only_says(body: Sequence[ast.stmt]) -> bool:
    return all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _called(node.value) in SAYS for node in body
    )


def _other_number(value: int | float) -> str:
    """Another one that is surely meant otherwise: of a few one more, of many a tenth."""
    if value in (0, 1) or abs(value) < 10:
        return repr(value + 1)
    return repr(type(value)(value / 10))


def all_of(path: Path, root: Path) -> list[Change]:
    """Every change of this module that can be made, and still is a program."""
    source = path.read_text()
    finder = _Finder(str(path.relative_to(root)), source)
    finder.visit(ast.parse(source))
    unchanged = ast.dump(ast.parse(source))
    found, seen = [], set()
    for change in finder.found:
        try:
            changed = ast.dump(ast.parse(change.apply(source)))
        except SyntaxError:
            continue
        if changed != unchanged and changed not in seen:
            seen.add(changed)
            found.append(change)
    return found


def draw(root: Path, modules: Iterable[str], number: int, seed: int) -> Iterator[Change]:
    """So many, of all modules alike, and in each of all kinds alike."""
    chance = random.Random(seed)
    left: dict[str, dict[str, list[Change]]] = {}
    for module in sorted(modules):
        by_kind = defaultdict(list)
        for change in all_of(root / module, root):
            by_kind[change.kind].append(change)
        left[module] = {kind: chance.sample(changes, len(changes)) for kind, changes in sorted(by_kind.items())}
    while number and left:
        for module in chance.sample(sorted(left), len(left)):
            if not number:
                return
            kind = chance.choice(sorted(left[module]))
            change = left[module][kind].pop()
            if (module, change.within, change.words((root / module).read_text())) not in EQUIVALENT:
                yield change
                number -= 1
            if not left[module][kind]:
                del left[module][kind]
            if not left[module]:
                del left[module]
