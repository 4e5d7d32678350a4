"""From a campaign file to a checked campaign, with line numbers for what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import SecretStr, ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from rucio_inject.campaign.model import AS_KEYS, AS_TEXT, Misfit, Model
from rucio_inject.campaign.schema import IN_WORDS, Campaign
from rucio_inject.campaign.service_keys import Secret
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
    "greater_than": "must be more than {gt}",
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

# Those of them that say nothing of what was given.
_PLAIN = frozenset(kind for kind, words in _REASONS.items() if "{" not in words)
# What errors add to a location, besides the kind of what is there.
_MARKS = frozenset({"[key]", AS_TEXT, AS_KEYS})


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
    problems: dict[tuple[int | str, ...], tuple[int, str, str]] = {}
    for detail in error.errors():
        if _follows_from_another(detail):
            continue
        location = _visible(tree, detail["loc"])
        misfit = detail.get("ctx", {}).get("error")
        if isinstance(misfit, Misfit):
            location = (*location, *misfit.where)
        models, secret = _schema_at(tree, location)
        if secret is not None:
            where, reason = location[:secret], _reason_of_secret(detail)
        else:
            where, reason = location, reason_of(detail) + _meant(tree, detail, location, models)
        told = shown(".".join(str(part) for part in where))
        # One problem a place: what else could stand there would be refused, too.
        problems.setdefault(location, (_line(tree, where), told, reason))
    count = f"{len(problems)} problem" + "s" * (len(problems) > 1)
    return CampaignInvalid(
        f"{path} has {count}",
        problems=tuple(sorted(problems.values())),
        hint="every key and its meaning: rucio-inject campaign schema",
    )


def _follows_from_another(detail: ErrorDetails) -> bool:
    """Whether a list is only too short because its items are refused, each of which is told."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _meant(
    tree: CommentedMap,
    detail: ErrorDetails,
    location: tuple[int | str, ...],
    models: Sequence[type[Model]],
) -> str:
    """For an unknown key: the known one that it is most like, unless that is there, too."""
    if detail["type"] != "extra_forbidden":
        return ""
    beside: object = tree
    for part in location[:-1]:
        beside = _child(beside, part)
    there = set(beside) if isinstance(beside, CommentedMap) else set()
    known = {name for model in models for name in model.model_fields}
    near = get_close_matches(str(location[-1]), sorted(known - there), n=1)
    return f": did you mean {near[0]}?" if near else ""


def _schema_at(
    tree: object, location: tuple[int | str, ...]
) -> tuple[Sequence[type[Model]], int | None]:
    """The models whose keys may stand beside the last part of a location, and how many of its parts
    name what holds a secret, if it does. An unknown key beside a secret is taken for one."""
    models: Sequence[type[Model]] = [Campaign]
    for index, part in enumerate(location):
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        types = [found for field in fields for found in _types(field.annotation)]
        if SecretStr in types or Secret in types:
            return models, index + 1
        tree = _child(tree, part)
        if index < len(location) - 1 and fields:
            models = _of_kind(tree, [one for one in types if issubclass(one, Model)])
    return models, None


def _types(annotation: object) -> Iterator[type]:
    """All that an annotation is made of."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _types(part)


def _of_kind(tree: object, models: Sequence[type[Model]]) -> Sequence[type[Model]]:
    """Those of some models that the kind stands for, if it is given."""
    kind = _child(tree, "kind")
    of_kind = [
        model
        for model in models
        if "kind" in model.model_fields and kind in get_args(model.model_fields["kind"].annotation)
    ]
    return of_kind or models


def _reason_of_secret(detail: ErrorDetails) -> str:
    """What is wrong with a secret, in words that are the same whatever was given."""
    kind = detail["type"]
    if isinstance(detail.get("ctx", {}).get("error"), Misfit) or kind == "string_pattern_mismatch":
        return reason_of(detail)
    if kind == "extra_forbidden":
        return "has an unknown key"
    return _REASONS[kind] if kind in _PLAIN else "cannot be used as it is"


def reason_of(detail: ErrorDetails) -> str:
    """What pydantic found, in words for people who write campaigns."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        return IN_WORDS.get(pattern, f"must fit the regular expression {pattern}")
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


def _visible(tree: object, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The location without what pydantic adds to name the chosen branch of a union."""
    seen: list[int | str] = []
    kind: object = None
    for part in location:
        if not isinstance(tree, CommentedMap | CommentedSeq):
            break  # whatever follows names a type
        if part in _MARKS or (kind is not None and part == kind):
            kind = None
            continue
        seen.append(part)
        tree = _child(tree, part)
        kind = _child(tree, "kind")
    return tuple(seen)


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
