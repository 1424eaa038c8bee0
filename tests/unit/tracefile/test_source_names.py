"""Names of locks are what the source assigns them to, and none where that is not certain."""

from __future__ import annotations

import pytest

from conctrace.tracefile.source_names import name_at

CALLEES = frozenset({"Lock", "RLock"})


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("lock = threading.Lock()", "lock"),
        ("lock: Lock = Lock()", "lock"),
        ("self._lock = Lock()", "self._lock"),
        ("LOCKS['a'] = RLock()", "LOCKS['a']"),
        ("LOCKS = {'a': Lock()}", "LOCKS['a']"),
        ("worker = Worker(guard=Lock())", "guard"),
        ("if (lock := Lock()): pass", "lock"),
        ("lock = given or Lock()", "lock"),
        ("lock = Lock() if wanted else None", "lock"),
        ("lock, queue = Lock(), Queue()", "lock"),
        ("def work(item, lock=Lock()): pass", "lock"),
        ("def work(*, lock=Lock()): pass", "lock"),
        ("work = lambda item, lock=Lock(): None", "lock"),
        ("mutex = L()", "mutex"),
        ("lock = wrap(Lock())", ""),
        ("a, b = Lock(), Lock()", ""),
        ("a = b = Lock()", ""),
        ("locks = [Lock(), Lock()]", ""),
        ("locks = [Lock() for _ in range(3)]", ""),
        ("work(Lock())", ""),
        ("Lock()", ""),
        ("lock = None", ""),
        ("this is no Python", ""),
    ],
)
def test_a_lock_is_called_what_its_value_goes_to(line: str, name: str) -> None:
    assert name_at(line, 1, CALLEES) == name


def test_a_call_over_several_lines_is_found_by_its_first_and_by_its_last() -> None:
    source = "class A:\n    def __init__(self):\n        self.lock = (\n            Lock(\n            )\n        )\n"
    assert [name_at(source, line, CALLEES) for line in range(1, 7)] == ["", "", "", "self.lock", "self.lock", ""]


def test_the_call_that_begins_on_the_line_is_meant_when_it_stands_inside_another() -> None:
    source = "x = build(\n    lock=Lock(),\n    other=RLock(),\n)\n"
    assert [name_at(source, line, CALLEES) for line in (2, 3)] == ["lock", "other"]
