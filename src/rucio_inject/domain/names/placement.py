"""What Rucio is told of a file because of its name: DID, dataset, containers, metadata."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rucio_inject.domain.errors import NameRefused
from rucio_inject.domain.names.base import FileName, shown
from rucio_inject.domain.names.templates import (
    DEFAULT_CONTAINERS,
    DEFAULT_DATASET,
    DEFAULT_NAME,
    fill,
    fill_fitting,
)

GENERIC_NAME = re.compile(r"^[/A-Za-z0-9][/A-Za-z0-9\.\-_]*$")
"""DID names that Rucio's generic schema takes; a site may take more."""
NAME_LENGTH = 250
"""Characters that a DID name may have."""


def name_pattern(characters: str) -> re.Pattern[str]:
    """DID names that a site's schema takes, which has these characters besides the generic ones."""
    extra = re.escape(characters)
    if not extra:
        return GENERIC_NAME
    return re.compile(rf"^[/A-Za-z0-9{extra}][/A-Za-z0-9\.\-_{extra}]*$")


@dataclass(frozen=True, slots=True)
class Placement:
    """DID names, all in the campaign's scope; `containers` outermost first."""

    did_name: str
    dataset: str
    containers: tuple[str, ...]


def leads_elsewhere(name: str) -> bool:
    """Whether a name that is taken for a path below a folder is none: it begins at the root, or a
    part of it is empty or made of dots alone. Rucio puts names into paths as they are."""
    return bool(name) and any(part in {"", ".", ".."} for part in name.split("/"))


def sanitised(name: str | FileName, allowed: re.Pattern[str] = GENERIC_NAME) -> str:
    """A DID name that the catalogue takes: the name itself, or with `_` in place of `+`.

    A name that is allowed is never changed. NameRefused, with what is in the way, if it does not
    fit either way, or is longer than 250 characters. Two names that differ in `+` and `_` alone
    become the same: the catalogue's checksums then tell them apart, and the second is refused.
    """
    wanted = str(name)
    if leads_elsewhere(wanted):
        raise NameRefused(
            f"{shown(wanted)} would lead out of its folder, wherever it is stored",
            hint="rename the file, or change the template that the name comes from",
        )
    for candidate in (wanted, wanted.replace("+", "_")):
        if len(candidate) <= NAME_LENGTH and allowed.fullmatch(candidate):
            return candidate
    if len(wanted) > NAME_LENGTH:
        reason = f"has {len(wanted)} characters, {NAME_LENGTH} at most are taken"
    else:
        reason = _in_the_way(wanted.replace("+", "_"), allowed)
    raise NameRefused(
        f"the catalogue does not take {shown(wanted)} as a DID name: it {reason}",
        hint="rename the file, or change the template that the name comes from",
    )


def _in_the_way(name: str, allowed: re.Pattern[str]) -> str:
    if not name:
        return "is empty"
    alone = "".join(sorted({char for char in name if not allowed.fullmatch("A" + char + "A")}))
    if alone:
        return f"holds {shown(alone)}"
    return f"does not match {allowed.pattern}"


def place(
    name: FileName,
    dataset: str = DEFAULT_DATASET,
    containers: Sequence[str] = DEFAULT_CONTAINERS,
    allowed: re.Pattern[str] = GENERIC_NAME,
    *,
    template: str = DEFAULT_NAME,
) -> Placement:
    """The DID names of a file, by `template`, of its dataset and its containers, by templates.

    Containers whose template needs what the name does not tell are left out. NameRefused if the
    dataset's template needs it, if a name is not taken by the catalogue, or if two of them are
    the same (Rucio has one name for one thing). ValueError if a template is wrong.
    """
    fields = name.fields()
    did_name = sanitised(fill(template, fields), allowed)
    dataset_name = sanitised(fill(dataset, fields), allowed)
    container_names = tuple(sanitised(text, allowed) for text in fill_fitting(containers, fields))
    every = (did_name, dataset_name, *container_names)
    twice = next((text for text in every if every.count(text) > 1), None)
    if twice is not None:
        raise NameRefused(
            f"{shown(fields['name'])}: {shown(twice)} would be the name of two different DIDs",
            hint="change the templates of dataset and containers so that their names differ",
        )
    return Placement(did_name, dataset_name, container_names)


def metadata(name: FileName) -> dict[str, str | int]:
    """Metadata that a file gets for its name, under Rucio's keys where it has them.

    `run_number` (int) and `datatype` (the level) are Rucio's own; `telescope` and, where the name
    tells them, `night` (YYYY_MM_DD), `subrun` (int) and `source` are ours.
    """
    fields = name.fields()
    told: dict[str, str | int] = {
        key: fields[field]
        for key, field in (("datatype", "level"), ("telescope", "telescope"))
        if field in fields
    }
    # A run that is no number is in the dataset's name alone: Rucio's own key takes numbers.
    for key, field in (("run_number", "run"), ("subrun", "subrun")):
        if fields.get(field, "").isdigit():
            told[key] = int(fields[field])
    return told | {key: fields[key] for key in ("night", "source") if key in fields}
