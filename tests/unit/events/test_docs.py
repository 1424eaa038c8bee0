"""docs/events.md says what the tables say."""

from __future__ import annotations

from conctrace.events import docs, kinds, schema


def test_the_page_in_the_checkout_is_up_to_date() -> None:
    assert docs.FILE.written() == docs.page(), "python -m conctrace.events.docs --write"


def test_every_kind_field_and_definition_is_on_the_page() -> None:
    page = docs.page()
    for kind in kinds.KINDS:
        assert f"### {kind.number} · {kind.name}\n" in page
    for field in schema.FIELDS:
        assert f"| `{field.name}` |" in page
    for definition in kinds.DEFINITIONS:
        assert definition.meaning in page


def test_a_bar_in_a_cell_does_not_split_it() -> None:
    assert docs.row(["a|b", 1]) == "| a\\|b | 1 |"
