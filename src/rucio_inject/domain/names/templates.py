"""Templates: how names of datasets and containers follow from the name of a file.

A template is text with plain fields, as in `{run}.{level}_{telescope}`; `{{` and `}}` stand for
braces. There are no attributes, indices, conversions or format specs: a campaign file cannot
reach into the program, and every field is text as the file name has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from string import Formatter
from types import MappingProxyType

from rucio_inject.domain.errors import NameRefused
from rucio_inject.domain.names.base import FileName, shown

FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "name": "the file name, without folders",
        "stem": "the file name without its extension",
        "extension": "the extension, as .raw.gz or .fits.fz",
        "experiment": "MAGIC or LST-1",
        "night": "the night, YYYY_MM_DD",
        "date": "the night, YYYYMMDD",
        "year": "the night's year, 4 digits",
        "month": "the night's month, 2 digits",
        "day": "the night's day, 2 digits",
        "run": "the run, with its leading zeros (8 digits for MAGIC, 5 for LST-1)",
        "subrun": "the subrun, with its leading zeros (3 digits for MAGIC, 4 for LST-1)",
        "telescope": "M1, M2, ST (both) or LST-1",
        "level": "RAW, Calibrated, Star, SuperStar, Melibea; R0, DL1, DL2, DatacheckDL1, Muons",
        "letter": "the type letter of a MAGIC science file",
        "source": "the observed source, as a MAGIC science file has it",
        "wobble": "the offset from the source in degrees, as 0.40",
        "angle": "the direction of the offset in degrees, 3 digits, with a sign if it is minus",
        "kind": "ssignal, scalib, star, superstar, melibea; r0, dl1, dl2, datacheck_dl1, muons",
        "stream": "the stream of an LST-1 R0 file, 1 to 4",
        "version": "the version folder of an LST-1 file",
    }
)
"""What a template can use. Names leave out what they do not tell."""

_OF_A_NIGHT = frozenset({"night", "date", "year", "month", "day"})

DEFAULT_NAME = "{name}"
"""A file's DID is called as the file is."""

DEFAULT_DATASET = "{run}"
"""A dataset a run, named as PIC's first workflow named it.

It mixes levels and telescopes, since one run has several of both; where that matters, use
`{run}.{level}_{telescope}`.
"""

DEFAULT_CONTAINERS = ("{night}", "{night}.{source}", "{night}.{source}.{level}_{telescope}")
"""Containers by night, source, and level with telescope, outermost first.

Each name carries every level above it. A night holds several sources, and a source is observed in
many nights: were the container of a night called after the night alone and put into that of a
source, it would belong to several sources, and every source would hold all that was observed in
its nights. The night comes first because it ends: no container waits for ever for more.

A file that does not tell a field lies only in the containers that do not need it. So auxiliary
files and LST-1 files, which tell no source, are found by their night; a campaign of LST-1 rather
asks for `{night}` and `{night}.{level}_{telescope}`.
"""


@lru_cache(maxsize=256)
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """The template as (text, field after it) pairs. ValueError if it is no template."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"template {shown(template)} cannot be read: {error}") from error
    if not parsed:
        raise ValueError("a template must not be empty")
    for _, field, spec, conversion in parsed:
        if field is None:
            continue
        if spec or conversion or not (field.isascii() and field.isidentifier()):
            wanted = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise _no_field(template, wanted, FIELDS)
    return tuple((text, field) for text, field, _, _ in parsed)


def _no_field(template: str, wanted: str, known: Iterable[str]) -> ValueError:
    there = ", ".join(known)
    return ValueError(f"template {shown(template)}: {{{wanted}}} is no field; there are {there}")


@lru_cache(maxsize=256)
def template_fields(template: str, more: frozenset[str] = frozenset()) -> frozenset[str]:
    """The fields that a template needs; `more` are those of a campaign's own grammars.

    ValueError, saying what is wrong, for a template that is empty, cannot be read, or has
    anything but known, plain fields. So this is how to check one when a campaign is loaded.
    """
    needed = _needed(template)
    for field in sorted(needed):
        if field not in FIELDS and field not in more:
            raise _no_field(template, field, [*FIELDS, *sorted(more - FIELDS.keys())])
    return needed


@lru_cache(maxsize=256)
def _needed(template: str) -> frozenset[str]:
    return frozenset(field for _, field in _parts(template) if field is not None)


def check_templates(
    dataset: str, containers: Sequence[str], *, fields: frozenset[str] = frozenset()
) -> None:
    """Check templates that are to be used together; `fields` are those of a campaign's own
    grammars. ValueError says what is wrong.

    Besides each alone: no two may be the same, since a dataset and a container, or two
    containers one in the other, cannot share a name.
    """
    every = (dataset, *containers)
    for template in every:
        template_fields(template, fields)
    twice = sorted({template for template in every if every.count(template) > 1})
    if twice:
        raise ValueError(f"template {', '.join(map(shown, twice))} is used more than once")


_TELLS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        **dict.fromkeys(("night", "date"), _OF_A_NIGHT),
        "kind": frozenset({"level"}),
    }
)
"""Fields that say others, too."""


def lacking_above(
    containers: Sequence[str], same: Collection[str] = ()
) -> tuple[int, frozenset[str]] | None:
    """The first container (0 the outermost) whose template does not carry all that the one around
    it is called after, and the fields that it lacks; None if there is none.

    Such a container would belong to several: each of those would hold what is another's. `same` are
    fields that are the same for all files. Templates must be well formed.
    """
    above: frozenset[str] = frozenset()
    for place, template in enumerate(containers):
        carried = _carried(_needed(template))
        if lacking := above - carried - frozenset(same):
            return place, lacking
        above = _needed(template)
    return None


def _carried(fields: frozenset[str]) -> frozenset[str]:
    """All that a name with these fields tells."""
    told = fields.union(*(_TELLS.get(field, ()) for field in fields))
    return told | _OF_A_NIGHT if {"year", "month", "day"} <= told else told


def render_template(template: str, name: FileName) -> str:
    """What a template gives for a file name.

    NameRefused if the name does not tell a field that the template needs; ValueError if the
    template itself is wrong.
    """
    fields = name.fields()
    template_fields(template, frozenset(fields))
    return fill(template, fields)


def render_containers(templates: Sequence[str], name: FileName) -> tuple[str, ...]:
    """What templates of containers give for a file name, in their order.

    A template that needs what the name does not tell is left out. ValueError if one is wrong.
    """
    fields = name.fields()
    for template in templates:
        template_fields(template, frozenset(fields))
    return fill_fitting(templates, fields)


def fill(template: str, fields: Mapping[str, str]) -> str:
    """As `render_template`, from what `FileName.fields()` gave."""
    parts = _parts(template)
    for _, field in parts:
        if field is not None and field not in fields:
            raise NameRefused(
                f"{shown(fields['name'])} tells no {field}, which the template {shown(template)} "
                "needs",
                hint="use a template without it, or give the path with its folders",
            )
    return "".join(text + (fields[field] if field is not None else "") for text, field in parts)


def fill_fitting(templates: Sequence[str], fields: Mapping[str, str]) -> tuple[str, ...]:
    """As `render_containers`, from what `FileName.fields()` gave."""
    fitting = [template for template in templates if _needed(template) <= fields.keys()]
    return tuple(fill(template, fields) for template in fitting)
