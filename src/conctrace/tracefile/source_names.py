"""What the program's source calls the lock that was made on a line: ``lock``, ``self._lock``, ``LOCKS['a']``.

The name is what the call's value goes to: the target of an assignment, the key it stands for in a dict, the
keyword or parameter it is given as. Where two such calls stand on one line, or the value goes nowhere that has a
name (a list, a call's positional argument, a comprehension), there is no name: a wrong one is worse than none.
"""

from __future__ import annotations

import ast
from functools import lru_cache

#: Expressions whose value is that of the call inside.
_TRANSPARENT = (ast.IfExp, ast.BoolOp, ast.Await)


def name_at(source: str, line: int, callee_names: frozenset[str]) -> str:
    """The name given to what the call on `line` of one of `callee_names` returns, or ""."""
    parents = _parents(source)
    calls = [node for node in parents if isinstance(node, ast.Call) and node.lineno <= line <= (node.end_lineno or 0)]
    # Under another name (`from threading import Lock as L`) it is found if it is the only call there.
    named = [call for call in calls if _callee(call) in callee_names] or calls
    named = [call for call in named if call.lineno == line] or named
    if len(named) != 1:
        return ""
    return _name(named[0], parents)


@lru_cache(maxsize=4)
def _parents(source: str) -> dict[ast.AST, ast.AST]:
    """Each node's parent; nothing when the source is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}


def _callee(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _name(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    parent = parents.get(node)
    while isinstance(parent, _TRANSPARENT):
        node, parent = parent, parents.get(parent)
    if isinstance(parent, ast.Assign):
        return _target(parent.targets[0]) if len(parent.targets) == 1 else ""
    if isinstance(parent, (ast.AnnAssign, ast.NamedExpr)):
        return _target(parent.target)
    if isinstance(parent, ast.keyword):
        return parent.arg or ""
    if isinstance(parent, ast.Tuple):
        return _tuple_target(node, parent, parents)
    if isinstance(parent, ast.Dict):
        return _dict_key(node, parent, parents)
    if isinstance(parent, ast.arguments):
        return _parameter(node, parent)
    return ""


def _target(target: ast.expr) -> str:
    return ast.unparse(target) if isinstance(target, (ast.Name, ast.Attribute, ast.Subscript)) else ""


def _tuple_target(node: ast.AST, values: ast.Tuple, parents: dict[ast.AST, ast.AST]) -> str:
    """``a, b = Lock(), queue`` gives a."""
    assign = parents.get(values)
    if not isinstance(assign, ast.Assign) or len(assign.targets) != 1:
        return ""
    targets = assign.targets[0]
    if not isinstance(targets, ast.Tuple) or len(targets.elts) != len(values.elts):
        return ""
    return next(
        (_target(target) for target, value in zip(targets.elts, values.elts, strict=False) if value is node), ""
    )


def _dict_key(node: ast.AST, display: ast.Dict, parents: dict[ast.AST, ast.AST]) -> str:
    """``LOCKS = {'a': Lock()}`` gives LOCKS['a']."""
    whole = _name(display, parents)
    key = next((key for key, value in zip(display.keys, display.values, strict=False) if value is node), None)
    return f"{whole}[{ast.unparse(key)}]" if whole and key is not None else ""


def _parameter(node: ast.AST, arguments: ast.arguments) -> str:
    """``def work(lock=Lock())`` gives lock."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[tuple[ast.arg, ast.expr | None]] = [
        *zip(reversed(positional), reversed(arguments.defaults), strict=False),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=False),
    ]
    return next((argument.arg for argument, default in defaults if default is node), "")
