"""Campaign files that nobody should write: each is refused at its line, in our own words."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.schema import Campaign, MockSource
from rucio_inject.domain.errors import CampaignInvalid

GOOD = """\
campaign: night
scope: MAGIC
source:
  kind: mock
  payload: {kind: raw}
upload:
  rse: A
rules:
  - rse_expression: B
"""
OURS = "must be text: put it into quotes"


def load(folder: Path, text: str) -> Campaign:
    """Load a campaign from its text."""
    path = folder / "campaign.yaml"
    path.write_text(text, encoding="utf-8")
    return load_campaign(path)


def problems(folder: Path, text: str) -> list[tuple[int, str, str]]:
    """What is wrong with a campaign."""
    with pytest.raises(CampaignInvalid) as caught:
        load(folder, text)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("scope: MAGIC", "scope: 12", (2, "scope", OURS)),
        ("scope: MAGIC", "scope: 1.5", (2, "scope", OURS)),
        ("scope: MAGIC", "scope: 2020-02-03", (2, "scope", OURS)),
        ("scope: MAGIC", "scope: 00012", (2, "scope", OURS)),
        ("scope: MAGIC", "scope: true", (2, "scope", OURS)),
        ("scope: MAGIC", "scope: [a]", (2, "scope", OURS)),
        ("scope: MAGIC", "scope:", (2, "scope", "has no value")),
        (
            "scope: MAGIC",
            'scope: "\\ud800"',
            (2, "scope", "must be text without halves of characters"),
        ),
        (
            "scope: MAGIC",
            f"scope: {'a' * 26}",
            (2, "scope", "must not be longer than 25 characters"),
        ),
        ("rse: A", "rse: A\n  workers: true", (8, "upload.workers", "must be a whole number")),
        ("rse: A", "rse: A\n  workers: 2.5", (8, "upload.workers", "must be a whole number")),
        ("rse: A", "rse: A\n  workers: 1e400", (8, "upload.workers", "must be a whole number")),
        ("rse: A", "rse: A\n  workers: 65", (8, "upload.workers", "must be 64 or less")),
        (
            "kind: mock",
            "kind: mock\n  wobble: .inf",
            (5, "source.wobble", "must be a number, and not without end"),
        ),
        ("kind: mock", "kind: mock\n  wobble: x", (5, "source.wobble", "must be a number")),
        ("kind: mock", "kind: mock\n  wobble: 10", (5, "source.wobble", "must be less than 10.0")),
        (
            "kind: mock",
            "kind: mock\n  seed: 9223372036854775808",
            (5, "source.seed", "must be 9223372036854775807 or less"),
        ),
        ("kind: mock", "kind: mock\n  types: []", (5, "source.types", "must not be empty")),
        (
            "kind: mock",
            "kind: mock\n  telescopes: [M3]",
            (5, "source.telescopes.0", "must be 'M1' or 'M2'"),
        ),
        (
            "kind: mock",
            "kind: mock\n  types: DQ",
            (5, "source.types", "must be a list, as in [a, b] or with a dash for each"),
        ),
        (
            "kind: mock",
            "kind: mock\n  night: 20200203",
            (5, "source.night", "20200203 is no date: write it as in 2020-02-03"),
        ),
        (
            "kind: mock",
            "kind: mock\n  night: 2020-02-03T10:00:00Z",
            (
                5,
                "source.night",
                "2020-02-03T10:00:00+00:00 is no date: write it as in 2020-02-03",
            ),
        ),
        (
            "kind: mock",
            'kind: mock\n  night: "2020-02-31"',
            (5, "source.night", "the calendar has no 2020-02-31"),
        ),
        (
            "kind: mock",
            "kind: mok",
            (
                3,
                "source",
                "kind 'mok' is none of 'mock', 'directory', 'listing', 'inbox', 'paths', 'sql', 'rse'",  # noqa: E501
            ),
        ),
        ("  kind: mock\n", "", (3, "source", "kind: is missing, which says what it is")),
        ("\n  rse: A", " A", (6, "upload", "must be keys and values, indented below")),
        ("rules:", "end: 7\nrules:", (8, "end", "must be keys and values, indented below")),
        (
            "rules:",
            "rse_attributes: 7\nrules:",
            (8, "rse_attributes", "must be keys and values, indented below"),
        ),
        ("rules:", "output: 7\nrules:", (8, "output", "must be a path, as " + OURS[8:])),
        ("rules:", 'output: ""\nrules:', (8, "output", "must be a path")),
        (
            "rules:",
            "output: ~nobody-of-this-name/x\nrules:",
            (8, "output", "~nobody-of-this-name/x cannot be: there is no such user's home"),
        ),
        ("rules:", "access: {keep: maybe}\nrules:", (8, "access.keep", "must be true or false")),
        ("rules:", "access: {keep: 1.5}\nrules:", (8, "access.keep", "must be true or false")),
        (
            "rse_expression: B",
            'rse_expression: ""',
            (9, "rules.0.rse_expression", "must not be empty"),
        ),
        (
            "  - rse_expression: B",
            "  - B",
            (9, "rules.0", "must be keys and values, indented below"),
        ),
        (
            "- rse_expression: B",
            f"- rse_expression: B\n    lifetime: {'9' * 400}d",
            (
                10,
                "rules.0.lifetime",
                f"'{'9' * 59}… is no duration: write a number and s, m, h or d, as in 90s",
            ),
        ),
        (
            "raw}",
            "raw, size: 1:30}",
            (
                5,
                "source.payload.size",
                "'1:30' is no size: write a number and kB, MB or GB, as in 100kB",
            ),
        ),
    ],
)
def test_a_value_of_the_wrong_kind(
    tmp_path: Path, old: str, new: str, problem: tuple[int, str, str]
) -> None:
    assert old in GOOD
    assert problems(tmp_path, GOOD.replace(old, new, 1)) == [problem]


@pytest.mark.parametrize("value", ["1.5", "~", "[x]", "2020-02-03", "1e400", "9223372036854775808"])
def test_an_attribute_is_told_once(tmp_path: Path, value: str) -> None:
    ((line, where, reason),) = problems(tmp_path, GOOD + f"rse_attributes:\n  A:\n    k: {value}\n")
    assert (line, where) == (12, "rse_attributes.A.k")
    assert reason.startswith("must be true, false, a whole number or text")


def test_attributes_keep_their_kind(tmp_path: Path) -> None:
    text = GOOD + "rse_attributes: {A: {a: true, b: 12, c: yes, d: '1', e: 00012}}\n"
    values = load(tmp_path, text).rse_attributes["A"]
    assert repr(values) == repr({"a": True, "b": 12, "c": "yes", "d": "1", "e": 12})


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (GOOD + f"output: {'[' * 2000}{']' * 2000}\n", 10, "more than 20 levels deep"),
        (GOOD + "".join(f"{' ' * depth}a:\n" for depth in range(300)), 30, "20 levels deep"),
        (
            GOOD.replace("night", f"night\nsize: {'9' * 5000}"),
            2,
            "is not a whole number of at most",
        ),
        (GOOD.replace("night", "2020-02-31"), 1, "'2020-02-31' is not a date"),
        (GOOD.replace("night", "ni\0ght"), 1, "no text"),
        (GOOD.replace("MAGIC", "MAGIC\n\a"), 3, "no text"),
        (GOOD.replace("MAGIC", "!!bool x"), 2, "there is a tag"),
        (GOOD.replace("MAGIC", '!!binary "aGFsbG8="'), 2, "there is a tag"),
        (GOOD.replace("MAGIC", "*none"), 2, "anchor (&) is missing"),
        (GOOD.replace("MAGIC", "a: b"), 2, "a colon too many"),
        (GOOD + "---\n" + GOOD, 10, "a second document"),
        (GOOD + "5: x\n", 10, "the key 5 must be text"),
        (GOOD + "2020-02-03: x\n", 10, "the key 2020-02-03 must be text"),
        (GOOD + "? [a, b]\n: x\n", 10, "must be text"),
        (GOOD + "rse_attributes:\n  A: {5: x}\n", 11, "the key 5 must be text"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, line: int, reason: str) -> None:
    ((found, _, why),) = problems(tmp_path, text)
    assert found == line
    assert reason in why
    assert len(why) < 250


def test_where_it_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(GOOD.encode() + b"# caf\xe9\n")
    with pytest.raises(CampaignInvalid, match="not text in UTF-8: see line 10"):
        load_campaign(path)


def test_an_unknown_key_that_was_merged_in(tmp_path: Path) -> None:
    text = (
        GOOD.replace("- rse", "- &r\n    colour: red\n    rse")
        + "  - <<: *r\n    rse_expression: C\n"
    )
    found = problems(tmp_path, text)
    assert [(line, where) for line, where, _ in found] == [
        (10, "rules.0.colour"),
        (12, "rules.1.colour"),
    ]


def test_anchors_and_merges_may_be_used(tmp_path: Path) -> None:
    text = GOOD.replace("- rse", "- &r\n    copies: &n 2\n    lifetime: 5s\n    rse")
    text += "  - <<: *r\n    rse_expression: C\n  - rse_expression: D\n    copies: *n\n"
    text += "end: {}\n"
    rules = load(tmp_path, text).rules
    assert [(r.rse_expression, r.copies, r.lifetime) for r in rules] == [
        ("B", 2, 5),
        ("C", 2, 5),
        ("D", 2, None),
    ]


def test_aliases_that_explode_are_told_by_the_hundred_at_most(tmp_path: Path) -> None:
    keys = [", ".join(f"k{i}: *a{n}" for i in range(9)) for n in range(19)]
    bomb = "a0: &a0 {x: 1}\n" + "".join(
        f"a{n + 1}: &a{n + 1} {{{k}}}\n" for n, k in enumerate(keys)
    )
    assert len(problems(tmp_path, bomb + GOOD + "rse_attributes: *a19\n")) < 200


@pytest.mark.parametrize("night", ["2020-02-03", '"2020-02-03"'])
def test_a_night_in_quotes_or_not(tmp_path: Path, night: str) -> None:
    source = load(tmp_path, GOOD.replace("kind: mock", f"kind: mock\n  night: {night}")).source
    assert isinstance(source, MockSource)
    assert source.night == date(2020, 2, 3)


def test_paths_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/magic")
    campaign = load(tmp_path, GOOD + "output: ~/out\nledger: ~/l.json\n")
    assert campaign.output_folder == Path("/home/magic/out")
    assert campaign.ledger_place == Path("/home/magic/l.json")
