"""File names as typed values: what a name tells, and what Rucio is told because of it.

`parse_name` reads a name, `str()` writes it back; `place` and `metadata` say what follows from it.
A further telescope is a further entry in `GRAMMARS`.
"""

from __future__ import annotations

from rucio_inject.domain.names.base import FileName, Level, Telescope
from rucio_inject.domain.names.grammar import ALL, GRAMMARS, Grammar, grammars, parse_name
from rucio_inject.domain.names.lst1 import Lst1File, Lst1Kind
from rucio_inject.domain.names.magic import (
    AuxiliaryKind,
    Letter,
    MagicAuxiliary,
    MagicScience,
    Wobble,
)
from rucio_inject.domain.names.placement import (
    GENERIC_NAME,
    NAME_LENGTH,
    Placement,
    metadata,
    name_pattern,
    place,
    sanitised,
)
from rucio_inject.domain.names.templates import (
    DEFAULT_CONTAINERS,
    DEFAULT_DATASET,
    DEFAULT_NAME,
    FIELDS,
    check_templates,
    lacking_above,
    render_containers,
    render_template,
    template_fields,
)

__all__ = [
    "ALL",
    "DEFAULT_CONTAINERS",
    "DEFAULT_DATASET",
    "DEFAULT_NAME",
    "FIELDS",
    "GENERIC_NAME",
    "GRAMMARS",
    "NAME_LENGTH",
    "AuxiliaryKind",
    "FileName",
    "Grammar",
    "Letter",
    "Level",
    "Lst1File",
    "Lst1Kind",
    "MagicAuxiliary",
    "MagicScience",
    "Placement",
    "Telescope",
    "Wobble",
    "check_templates",
    "grammars",
    "lacking_above",
    "metadata",
    "name_pattern",
    "parse_name",
    "place",
    "render_containers",
    "render_template",
    "sanitised",
    "template_fields",
]
