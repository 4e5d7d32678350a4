"""Grammars, and how a name is read: the one door through which all names come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rucio_inject.domain.errors import NameRefused
from rucio_inject.domain.names import lst1, magic
from rucio_inject.domain.names.base import FileName, NoSuchDayError, shown


@dataclass(frozen=True, slots=True)
class Grammar:
    """One telescope's way of naming files, as an entry of a registry.

    `match(name, folder)` gives the name understood, or None if it is none of this grammar's; it
    may raise NoSuchDayError for a name of the right form with a night that cannot be.
    `explain(name)` says which part does not fit, or None if the name does not look like this
    grammar's at all. Both get the name without folders, and do no I/O.
    """

    key: str
    experiment: str
    example: str
    match: Callable[[str, str], FileName | None]
    explain: Callable[[str], str | None]


MAGIC = Grammar(
    "magic",
    "MAGIC",
    "20200204_M1_05089063.001_Y_Mrk501-W0.40+270.root",
    magic.match,
    magic.explain,
)
LST1 = Grammar("lst1", "LST-1", "dl1_LST-1.Run03143.0003.h5", lst1.match, lst1.explain)

GRAMMARS: Mapping[str, Grammar] = MappingProxyType({g.key: g for g in (MAGIC, LST1)})
"""Grammars by the key that campaign files and `--grammar` use."""
ALL: tuple[Grammar, ...] = tuple(GRAMMARS.values())


def grammars(keys: Sequence[str]) -> tuple[Grammar, ...]:
    """Grammars by their keys, in this order. ValueError, naming the known ones, for another key."""
    unknown = [key for key in keys if key not in GRAMMARS]
    if unknown:
        known = ", ".join(GRAMMARS)
        raise ValueError(f"there is no grammar {', '.join(map(repr, unknown))}; there are {known}")
    return tuple(GRAMMARS[key] for key in keys)


def parse_name(text: str, grammars: Sequence[Grammar] = ALL) -> FileName:
    """Understand a file name, with or without the folders it lies in.

    Grammars are tried in order; folders add what the name does not tell (night, version, RAW or
    Calibrated). NameRefused, saying which part does not fit, for all else: empty text, folders,
    lists of checksums, names of no grammar, nights that are no date.
    """
    folder, _, name = text.rpartition("/")
    try:
        for grammar in grammars:
            found = grammar.match(name, folder)
            if found is not None:
                return found
    except NoSuchDayError as error:
        raise NameRefused(
            f"{shown(text)}: {error}", hint="a night is written as year, month and day"
        ) from error
    raise _refusal(text, name, grammars)


def _refusal(text: str, name: str, grammars: Sequence[Grammar]) -> NameRefused:
    if not text.strip():
        return NameRefused("an empty line is no file name", hint="leave it out")
    if not name:
        return NameRefused(f"{shown(text)} is a folder, not a file", hint="name the files in it")
    if name.upper() in {"MD5SUMS", "MD5SUMS.GZ"}:
        return NameRefused(f"{shown(text)} is a list of checksums, not data", hint="leave it out")
    if text != text.strip():
        return NameRefused(f"{shown(text)} begins or ends with white space", hint="take it away")
    for grammar in grammars:
        reason = grammar.explain(name)
        if reason is not None:
            message = f"{shown(name)} is no {grammar.experiment} name: {reason}"
            return NameRefused(message, hint=f"such a name looks like this: {grammar.example}")
    examples = " or ".join(grammar.example for grammar in grammars)
    hint = f"a name looks like this: {examples}" if examples else "ask for one grammar at least"
    known = " or ".join(grammar.experiment for grammar in grammars) or "any grammar asked for"
    return NameRefused(f"{shown(name)} is no name of {known}", hint=hint)
