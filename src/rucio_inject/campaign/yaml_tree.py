"""Reading a campaign file's YAML: plain, small and shallow, with the line of what it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.reader import ReaderError

from rucio_inject.campaign.units import shown
from rucio_inject.domain.errors import CampaignInvalid

MAX_BYTES = 100_000
# A campaign needs five levels; the parser would need a stack as deep as the file.
MAX_DEPTH = 20
HINT = "is the path right? campaigns/magic.yaml is one to start from"
# What the parser says, by a part of it, in our words.
_SAID = (
    ("'\\t'", "there is a tab: indent with spaces"),
    ("mapping values are not allowed", "there is a colon too many, or the indent is wrong"),
    ("unexpected end of stream", "a quote is not closed"),
    ("undefined alias", "an alias (*) stands for nothing: the anchor (&) is missing"),
    ("another document", "a second document begins: a file holds one campaign"),
    ("expected <block end>", "the indent is wrong"),
    ("could not find expected ':'", "a colon is missing after a key"),
    ("incompatible YAML document", "only YAML 1.2 can be read: leave out the %YAML line"),
)
_LONGEST = 200  # characters of a reason
_MEANT = {
    "tag:yaml.org,2002:int": "a whole number of at most 4300 digits",
    "tag:yaml.org,2002:timestamp": "a date that the calendar has",
}


def read_yaml(path: Path) -> Any:
    """The tree of a YAML file, which knows its line numbers; all keys are text.

    CampaignInvalid if it cannot be read, or is anything but plain YAML without tags.
    """
    text = _read(path)
    try:
        _refuse_odd(path, text)
        tree = _parser().load(text)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _not_yaml(path, line, "there is a character that is no text") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        # Of a duplicate key the parser tells both values, which may be secrets.
        reason = (error.problem or "it cannot be understood").strip().partition(" with value ")[0]
        ours = next((words for part, words in _SAID if part in reason), reason)
        raise _not_yaml(path, mark.line + 1 if mark else 1, shown(ours, _LONGEST)) from None
    except YAMLError as error:
        raise CampaignInvalid(f"{path} is not YAML: {shown(str(error))}") from None
    if problems := tuple(_odd_keys(tree, (), set())):
        raise CampaignInvalid(f"{path} has keys that are no text", problems=problems)
    return tree


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CampaignInvalid(f"cannot read {path}: {error.strerror}", hint=HINT) from None
    if len(content) > MAX_BYTES:
        raise CampaignInvalid(f"{path} is over 100 kB: no campaign file is that long", hint=HINT)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CampaignInvalid(
            f"{path} is not text in UTF-8: see line {line}", hint="save it as UTF-8"
        ) from None


class _Constructor(RoundTripConstructor):
    """Tells the line of a value that looks like a number or a date and is none."""

    def construct_non_recursive_object(self, node: Any, tag: str | None = None) -> Any:
        """As the class above does it."""
        try:
            return super().construct_non_recursive_object(node, tag)
        except ValueError:
            what = _MEANT.get(str(node.tag), "what it looks like")
            reason = f"{shown(repr(node.value))} is not {what}"
            raise ConstructorError(None, None, reason, node.start_mark) from None


def _parser() -> YAML:
    # The round-trip loader keeps line numbers.
    yaml = YAML(typ="rt")
    yaml.Constructor = _Constructor
    return yaml


def _refuse_odd(path: Path, text: str) -> None:
    """CampaignInvalid for tags, and for what is nested too deep: before anything is built."""
    depth = 0
    for event in YAML(typ="rt").parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, NodeEvent) and getattr(event, "tag", None) is not None:
            raise _not_yaml(path, line, "there is a tag (!): a campaign needs none")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _not_yaml(path, line, f"it is nested more than {MAX_DEPTH} levels deep")


def _not_yaml(path: Path, line: int, reason: str) -> CampaignInvalid:
    return CampaignInvalid(f"{path} cannot be read as a campaign", problems=((line, "", reason),))


def _odd_keys(
    tree: object, where: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[int, str, str]]:
    """Keys that YAML takes for something else than text. Aliases are looked into once."""
    if id(tree) in seen or not isinstance(tree, CommentedMap | CommentedSeq):
        return
    seen.add(id(tree))
    keys = tree if isinstance(tree, CommentedMap) else range(len(tree))
    for key in keys:
        if isinstance(tree, CommentedMap) and not isinstance(key, str):
            line = tree.lc.data.get(key, (tree.lc.line,))[0] + 1
            place = ".".join(where)
            yield line, place, f"the key {shown(str(key))} must be text: put it into quotes"
        else:
            yield from _odd_keys(tree[key], (*where, str(key)), seen)
