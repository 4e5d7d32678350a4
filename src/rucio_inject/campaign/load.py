"""From a campaign file to a checked campaign, with line numbers for what is wrong."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from rucio_inject.campaign.model import Misfit, Model
from rucio_inject.campaign.schema import IN_WORDS, Campaign
from rucio_inject.campaign.units import shown, straight
from rucio_inject.campaign.yaml_tree import read_yaml
from rucio_inject.domain.errors import CampaignInvalid

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# What pydantic finds, by its type of error, in our words; braces hold what its context tells.
_KEYS = "must be keys and values, indented below"
_TEXT = "must be text: put it into quotes"
_REASONS = {
    "missing": "missing",
    "extra_forbidden": "unknown key",
    "string_type": _TEXT,
    "string_unicode": "must be text without halves of characters",
    "string_too_long": "must not be longer than {max_length} characters",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number, and not without end",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "kind {tag!r} is none of {expected_tags}",
    "union_tag_not_found": "kind: is missing, which says what it is",
    "tuple_type": "must be a list, as in [a, b] or with a dash for each",
    "too_short": "must not be empty",
    "dict_type": _KEYS,
    "model_type": _KEYS,
    "model_attributes_type": _KEYS,
    "path_type": "must be a path, as text: put it into quotes",
    "date_type": "must be a date, as in 2020-02-03",
}


def load_campaign(path: Path) -> Campaign:
    """Read and check a campaign file (YAML 1.2, no tags).

    Paths of sources are made absolute, relative to the campaign file's folder. CampaignInvalid
    names every problem with its line.
    """
    tree = read_yaml(path)
    if not isinstance(tree, CommentedMap):
        raise CampaignInvalid(
            f"{path} is not a campaign: its top level is no mapping of keys to values",
            hint="start from campaigns/magic.yaml, or see: rucio-inject campaign schema",
        )
    try:
        campaign = Campaign.model_validate(tree)
    except ValidationError as error:
        raise _explain(path, tree, error) from None
    return _anchored(campaign, path.absolute().parent)


def _explain(path: Path, tree: CommentedMap, error: ValidationError) -> CampaignInvalid:
    problems = []
    for detail in error.errors():
        if _follows_from_another(detail):
            continue
        location = detail["loc"]
        where = shown(".".join(str(part) for part in _visible(tree, location)))
        misfit = detail.get("ctx", {}).get("error")
        line = _line(tree, misfit.where if isinstance(misfit, Misfit) else location)
        problems.append((line, where, reason_of(detail) + _meant(tree, detail)))
    count = f"{len(problems)} problem" + "s" * (len(problems) > 1)
    return CampaignInvalid(
        f"{path} has {count}",
        problems=tuple(sorted(problems)),
        hint="every key and its meaning: rucio-inject campaign schema",
    )


def _follows_from_another(detail: ErrorDetails) -> bool:
    """Whether a list is only too short because its items are refused, each of which is told."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _meant(tree: CommentedMap, detail: ErrorDetails) -> str:
    """For an unknown key: the known one that it is most like, unless that is there, too."""
    if detail["type"] != "extra_forbidden":
        return ""
    *parents, key = _visible(tree, detail["loc"])
    beside: object = tree
    for part in parents:
        beside = _child(beside, part)
    there = beside if isinstance(beside, CommentedMap) else {}
    known = {name for model in Model.__subclasses__() for name in model.model_fields}
    # A key that belongs here is meant sooner than one that belongs elsewhere.
    here = set() if parents else set(Campaign.model_fields)
    near = [
        *get_close_matches(str(key), sorted(here - set(there)), n=1),
        *get_close_matches(str(key), sorted(known - set(there)), n=1),
    ]
    return f": did you mean {near[0]}?" if near else ""


def reason_of(detail: ErrorDetails) -> str:
    """What pydantic found, in words for people who write campaigns."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        return IN_WORDS[context["pattern"]]
    if kind.endswith("_type") and detail["input"] is None:
        return "has no value"
    if kind not in _REASONS:
        return detail["msg"]
    return _REASONS[kind].format_map(
        {
            key: shown(value) if isinstance(value, str) and key != "expected_tags" else value
            for key, value in context.items()
        }
    )


def _visible(tree: object, location: tuple[int | str, ...]) -> list[int | str]:
    """The location without what pydantic adds to name the chosen branch of a union."""
    seen: list[int | str] = []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        inside = _child(tree, part)
        if part == "[key]":
            continue
        if inside is not None or last:
            seen.append(part)
            tree = inside
    return seen


def _child(tree: object, part: int | str) -> object:
    if isinstance(tree, CommentedMap):
        return tree.get(part)
    if isinstance(tree, CommentedSeq) and isinstance(part, int) and part < len(tree):
        return tree[part]
    return None


def _line(tree: object, location: tuple[int | str, ...]) -> int:
    """The line (1 the first) of the deepest part of a location that the file has.

    Of a key that was merged in (<<) it is the line of the mapping that merges it.
    """
    line = 1
    for part in location:
        if isinstance(tree, CommentedMap) and part in tree:
            line = tree.lc.data.get(part, (tree.lc.line,))[0] + 1
        elif isinstance(tree, CommentedSeq) and isinstance(part, int) and part < len(tree):
            line = tree.lc.item(part)[0] + 1
        tree = _child(tree, part) or tree
    return line


def _anchored(campaign: Campaign, folder: Path) -> Campaign:
    source = campaign.source
    paths = {name: getattr(source, name) for name in type(source).model_fields}
    update = {
        name: straight(folder / path) for name, path in paths.items() if isinstance(path, Path)
    }
    return campaign.model_copy(update={"source": source.model_copy(update=update)})
