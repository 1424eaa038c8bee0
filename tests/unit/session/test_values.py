"""Values become text without running any code of the program."""

from __future__ import annotations

from typing import Any

import pytest

from conctrace.session.values import safe_repr


class Loud:
    """Every way to be looked at is an error."""

    def __repr__(self) -> str:
        raise AssertionError("the program's code ran")

    __str__ = __repr__

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the program's code ran for {name}")


class MyStr(str):
    __slots__ = ()

    def __repr__(self) -> str:
        raise AssertionError("the program's code ran")


@pytest.mark.parametrize(
    "value",
    [1, -5, 1.5, True, None, "a'b", b"\0x", (), (1,), (1, "a"), [], [1, [2]], {}, {"a": (1, 2)}, {3}, set()],
    ids=repr,
)
def test_plain_values_are_told_as_repr_does(value: object) -> None:
    assert safe_repr(value) == repr(value)


def test_anything_else_is_its_type() -> None:
    assert safe_repr(Loud()) == "<Loud>"
    assert safe_repr(MyStr("x")) == "<MyStr>"
    assert safe_repr([Loud(), 1]) == "[<Loud>, 1]"
    assert safe_repr(range(3)) == "<range>"


def test_containers_are_told_to_depth_two() -> None:
    assert safe_repr([[[1]]]) == "[[<list>]]"
    assert safe_repr({"a": {"b": {"c": 1}}}) == "{'a': {'b': <dict>}}"


@pytest.mark.parametrize(
    "value", ["x" * 1_000, list(range(10_000)), {number: number for number in range(999)}, b"y" * 99]
)
def test_no_text_is_longer_than_80_characters(value: object) -> None:
    text = safe_repr(value)
    assert len(text) == 80
    assert text.endswith("…")


def test_a_number_with_thousands_of_digits_is_not_written_out() -> None:
    assert safe_repr(10**5000) == "<int>"


def test_a_list_that_holds_itself_comes_to_an_end() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert safe_repr(loop) == "[[<list>]]"
