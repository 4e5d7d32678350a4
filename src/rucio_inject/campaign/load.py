"""From a campaign file to a checked campaign, with line numbers for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.errors import CampaignInvalid

MAX_BYTES = 1_000_000


def load_campaign(path: Path) -> Campaign:
    """Read and check a campaign file (YAML 1.2, no tags).

    Paths of sources are made absolute, relative to the campaign file's folder. CampaignInvalid
    names every problem with its line.
    """
    tree = _read(path)
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


def _read(path: Path) -> Any:
    hint = "is the path right? campaigns/magic.yaml is one to start from"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CampaignInvalid(f"{path} is over 1 MB: no campaign file is that long", hint=hint)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CampaignInvalid(f"cannot read {path}: {error.strerror}", hint=hint) from None
    except UnicodeDecodeError as error:
        raise CampaignInvalid(f"{path} is not text in UTF-8: {error.reason}", hint=hint) from None
    # The round-trip loader keeps line numbers and builds no objects from tags.
    try:
        return YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        reason = (error.problem or "not YAML").strip()
        problem = (line, "", reason)
        raise CampaignInvalid(f"{path} is not YAML", problems=(problem,)) from None
    except (YAMLError, ValueError) as error:
        raise CampaignInvalid(f"{path} is not YAML: {error}") from None


def _explain(path: Path, tree: CommentedMap, error: ValidationError) -> CampaignInvalid:
    problems = []
    for detail in error.errors():
        location = detail["loc"]
        where = ".".join(str(part) for part in _visible(tree, location))
        reason = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            reason = "unknown key"
        elif detail["type"] == "missing":
            reason = "missing"
        problems.append((_line(tree, location), where, reason))
    count = f"{len(problems)} problem" + "s" * (len(problems) > 1)
    return CampaignInvalid(
        f"{path} has {count}",
        problems=tuple(sorted(problems)),
        hint="every key and its meaning: rucio-inject campaign schema",
    )


def _visible(tree: object, location: tuple[int | str, ...]) -> list[int | str]:
    """The location without what pydantic adds to name the chosen branch of a union."""
    shown: list[int | str] = []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        inside = _child(tree, part)
        if inside is not None or last:
            shown.append(part)
            tree = inside
    return shown


def _child(tree: object, part: int | str) -> object:
    if isinstance(tree, CommentedMap):
        return tree.get(part)
    if isinstance(tree, CommentedSeq) and isinstance(part, int) and part < len(tree):
        return tree[part]
    return None


def _line(tree: object, location: tuple[int | str, ...]) -> int:
    """The line (1 the first) of the deepest part of a location that the file has."""
    line = 1
    for part in location:
        if isinstance(tree, CommentedMap) and part in tree:
            line = tree.lc.key(part)[0] + 1
        elif isinstance(tree, CommentedSeq) and isinstance(part, int) and part < len(tree):
            line = tree.lc.item(part)[0] + 1
        tree = _child(tree, part) or tree
    return line


def _anchored(campaign: Campaign, folder: Path) -> Campaign:
    source = campaign.source
    path = getattr(source, "path", None)
    if not isinstance(path, Path):
        return campaign
    anchored = source.model_copy(update={"path": folder / path.expanduser()})
    return campaign.model_copy(update={"source": anchored})
