"""The part of Rucio's RSE expressions that campaigns use: `NAME`, `KEY=VALUE`, `A|B`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rucio_inject.domain.errors import CatalogueRefused
from rucio_inject.ports import AttributeValue

_TERM = re.compile(r"([\w-]+)(?:=([\w-]+))?\Z")


def matching(expression: str, rses: Mapping[str, Mapping[str, AttributeValue]]) -> tuple[str, ...]:
    """The RSEs of an expression, sorted; CatalogueRefused if it is none."""
    found: set[str] = set()
    for term in expression.split("|"):
        match = _TERM.match(term)
        if match is None:
            raise CatalogueRefused(f"{expression!r} is no RSE expression")
        key, value = match.groups()
        if value is None:
            found |= {key} & set(rses)
        else:
            found |= {name for name, has in rses.items() if str(has.get(key)) == value}
    return tuple(sorted(found))
