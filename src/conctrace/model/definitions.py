"""What numbers stand for: an image's own definitions, and below its birth those of the image it was forked from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import kinds
from .trace import Site, Stack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..tracefile.reader import ImageData

_MISSING: tuple[str, ...] = ()


class Definitions:
    """Looks up texts, sites, stacks and objects of one image."""

    def __init__(self, image: ImageData, images: Mapping[int, ImageData]) -> None:
        self._chain = list(_ancestry(image, images))
        self._sites: dict[int, Site | None] = {}
        self._stacks: dict[int, Stack] = {}

    def fields(self, definition: kinds.Definition, number: int) -> tuple[str, ...] | list[str]:
        """The fields of a definition, or an empty tuple when it is not there."""
        for defined, limit in self._chain:
            if limit is not None and number >= limit:
                break
            found = defined.get(definition.number, {}).get(number)
            if found is not None:
                return found
        return _MISSING

    def own(self, definition: kinds.Definition, number: int) -> tuple[str, ...] | list[str]:
        """The same, of this image alone."""
        return self._chain[0][0].get(definition.number, {}).get(number, _MISSING)

    def text(self, number: int) -> str:
        """The string, or "" when it is not there."""
        fields = self.fields(kinds.TEXT, number)
        return fields[0] if fields else ""

    def site(self, number: int) -> Site | None:
        """The place, or None."""
        if number not in self._sites:
            fields = self.fields(kinds.SITE, number)
            self._sites[number] = Site(fields[0], int(fields[1]), fields[2]) if fields else None
        return self._sites[number]

    def stack(self, number: int) -> Stack:
        """The places, innermost first; a number of a site stands for a stack of one."""
        if number not in self._stacks:
            fields = self.fields(kinds.STACK, number)
            numbers = [int(part) for part in fields[0].split()] if fields else [number]
            sites = (self.site(part) for part in numbers)
            self._stacks[number] = tuple(site for site in sites if site is not None)
        return self._stacks[number]


def _ancestry(
    image: ImageData, images: Mapping[int, ImageData]
) -> list[tuple[dict[int, dict[int, list[str]]], int | None]]:
    """Definitions to look through, each with the limit below which its numbers count (None: all do)."""
    chain: list[tuple[dict[int, dict[int, list[str]]], int | None]] = [(image.definitions, None)]
    limit = None
    while (parent := images.get(image.facts.get("parent_nonce", 0))) is not None and len(chain) <= len(images):
        below = image.facts["inherited_below"]
        limit = below if limit is None else min(limit, below)
        chain.append((parent.definitions, limit))
        image = parent
    return chain
