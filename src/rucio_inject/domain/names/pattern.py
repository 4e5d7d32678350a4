"""File names of an experiment that a campaign file describes itself, by a pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar

from rucio_inject.domain.names.base import FileName, calendar_date

NIGHT_GROUPS = ("night", "date")
"""Groups that tell the night, as YYYYMMDD, with or without dashes or underscores."""
COMPUTED = frozenset({"name", "stem", "experiment", "year", "month", "day"})
"""Fields that follow from others: a pattern cannot have groups of these names."""
_GROUP = re.compile(r"[a-z][a-z0-9_]{0,30}")
_FIRST_CLASS = frozenset({"run", "subrun", "telescope", "level", "source", "extension"})


@dataclass(frozen=True, slots=True)
class PatternFile(FileName):
    """A name that fits a campaign's own pattern; `told` is all that it tells, by field."""

    experiment: ClassVar[str] = "pattern"

    whole: str
    told: Mapping[str, str] = field(default_factory=dict)

    def render(self) -> str:
        """The file name, without folders."""
        return self.whole

    def own_fields(self) -> dict[str, str | None]:
        """What the pattern's groups tell, and the experiment."""
        return {**self.told, "telescope": self.telescope or None, "level": self.level or None}


@dataclass(frozen=True, slots=True)
class Pattern:
    """How an experiment names its files.

    `name` is matched with the whole file name, `folder` searched in the folders that it lies in;
    what their named groups match are fields of templates, and so is what is `fixed`.
    """

    experiment: str
    name: re.Pattern[str]
    folder: re.Pattern[str] | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> frozenset[str]:
        """Every field that a name may tell."""
        groups = {*self.name.groupindex, *(self.folder.groupindex if self.folder else ())}
        return frozenset({*groups, *self.fixed})

    def check(self) -> None:
        """ValueError, with what is wrong, if names could not be used."""
        for group in sorted(self.fields):
            if group in COMPUTED:
                raise ValueError(f"{group} follows from others: call the group another name")
            if not _GROUP.fullmatch(group):
                raise ValueError(f"{group} must be small letters, digits and underscores")
        if "run" not in self.fields:
            raise ValueError("there is no group called run: (?P<run>…), which datasets are made by")

    def match(self, name: str, folder: str) -> FileName | None:
        """A name understood, or None if it is none of this experiment's. NoSuchDayError if its
        night is no date."""
        found = self.name.fullmatch(name)
        if found is None:
            return None
        told = dict(self.fixed)
        above = self.folder.search(folder + "/") if self.folder else None
        for match in (above, found):
            told |= {k: v for k, v in (match.groupdict() if match else {}).items() if v is not None}
        if not told.get("run"):
            return None
        others = {k: v for k, v in told.items() if k not in {*_FIRST_CLASS, *NIGHT_GROUPS}}
        return PatternFile(
            night=_night(told),
            run=told["run"],
            subrun=told.get("subrun"),
            telescope=told.get("telescope", ""),
            level=told.get("level", ""),
            source=told.get("source"),
            extension=told.get("extension", ""),
            whole=name,
            told={**others, "experiment": self.experiment},
        )

    def explain(self, name: str) -> str | None:  # noqa: ARG002 -- as other grammars do
        """A pattern cannot say which part of a name does not fit."""
        return None


def _night(told: Mapping[str, str]) -> date | None:
    for group in NIGHT_GROUPS:
        if group in told:
            digits = re.sub(r"[-_]", "", told[group])
            return calendar_date(digits, f"the {group}")
    return None
