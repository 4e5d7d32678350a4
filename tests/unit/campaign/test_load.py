"""What is wrong with a campaign file is named with its line, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.schema import Campaign, DirectorySource, MockSource
from rucio_inject.campaign.units import parse_duration, parse_size
from rucio_inject.domain.errors import CampaignInvalid, UsageError

READY = Path(__file__).parents[3] / "campaigns"
GOOD = """\
campaign: night
scope: MAGIC
source:
  kind: mock
  payload:
    kind: raw
    size: 100kB
upload:
  rse: PIC-INJECT
rules:
  - rse_expression: PIC-DCACHE
  - rse_expression: QOS=FAST
    lifetime: 1h
end:
  lifetime: 60s
"""


def load(folder: Path, text: str | bytes) -> Campaign:
    """Load a campaign from its text."""
    path = folder / "campaign.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_campaign(path)


def problems(folder: Path, text: str | bytes) -> list[tuple[int, str, str]]:
    """What is wrong with a campaign."""
    with pytest.raises(CampaignInvalid) as caught:
        load(folder, text)
    assert "campaign.yaml" in caught.value.message
    return list(caught.value.problems)


def test_a_good_one(tmp_path: Path) -> None:
    campaign = load(tmp_path, GOOD)
    assert isinstance(campaign.source, MockSource)
    assert campaign.source.payload.kind == "raw"
    assert campaign.source.payload.size == 100_000
    assert [rule.lifetime for rule in campaign.rules] == [None, 3600]
    assert campaign.end is not None
    assert (campaign.end.lifetime, campaign.upload.workers) == (60, 4)


@pytest.mark.parametrize("path", sorted(READY.glob("*.yaml")), ids=lambda path: path.name)
def test_the_ready_ones_load(path: Path) -> None:
    assert load_campaign(path).campaign


@pytest.mark.parametrize(
    ("old", "new", "line", "where", "reason"),
    [
        ("scope: MAGIC", "scope: MAG IC", 2, "scope", "letters, digits, dot"),
        ("scope: MAGIC", f"scope: {'M' * 26}", 2, "scope", "25"),
        ("scope: MAGIC\n", "", 1, "scope", "missing"),
        ("kind: mock", "kind: mok", 3, "source", "mok"),
        ("  kind: mock", "  kind: mock\n  colour: red", 5, "source.colour", "unknown key"),
        ("size: 100kB", "size: 100 k", 7, "source.payload.size", "no size"),
        ("size: 100kB", "size: -1", 7, "source.payload.size", "must be 0 or more"),
        ("rse: PIC-INJECT", "rse: pic inject", 9, "upload.rse", "capitals"),
        (
            "  rse: PIC-INJECT",
            "  rse: PIC-INJECT\n  workers: 0",
            10,
            "upload.workers",
            "must be 1 or more",
        ),
        (
            "  rse: PIC-INJECT",
            "  rse: PIC-INJECT\n  workers: x",
            10,
            "upload.workers",
            "must be a whole number",
        ),
        ("lifetime: 1h", "lifetime: 1 fortnight", 13, "rules.1.lifetime", "no duration"),
        ("lifetime: 1h", "copies: 0", 13, "rules.1.copies", "must be 1 or more"),
        ("lifetime: 1h", "lifetimes: 1h", 13, "rules.1.lifetimes", "unknown key"),
        ("lifetime: 60s", "lifetime: 0s", 15, "end.lifetime", "must be 1 or more"),
        ("end:", "ends:", 14, "ends", "unknown key"),
        ("campaign: night", "campaign: ../x", 1, "campaign", "begin with a letter"),
    ],
)
def test_a_problem_has_its_line(
    tmp_path: Path, old: str, new: str, line: int, where: str, reason: str
) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert (line, where) in [problem[:2] for problem in found]
    (text,) = [problem[2] for problem in found if problem[:2] == (line, where)]
    assert reason in text


def test_every_problem_is_told(tmp_path: Path) -> None:
    text = GOOD.replace("scope: MAGIC", "scope: ''").replace("60s", "soon").replace("1h", "later")
    assert [line for line, _, _ in problems(tmp_path, text)] == [2, 13, 15]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (GOOD + "scope: CTA\n", 16, "duplicate key"),
        (GOOD.replace("  rse:", "\trse:"), 9, "a tab: indent"),
        (GOOD.replace("rules:", "rules: ["), 11, ""),
        ("campaign: 'night\n", 2, ""),
    ],
)
def test_what_is_not_yaml_has_its_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    ((found, _, why),) = problems(tmp_path, text)
    assert abs(found - line) <= 1
    assert reason in why


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!secret x"],
)
def test_tags_build_nothing(tmp_path: Path, tag: str) -> None:
    with pytest.raises(CampaignInvalid):
        load(tmp_path, GOOD.replace("scope: MAGIC", f"scope: {tag}"))


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "night", "---\n...\n", "7"])
def test_no_mapping_is_no_campaign(tmp_path: Path, text: str) -> None:
    with pytest.raises(CampaignInvalid, match="no mapping"):
        load(tmp_path, text)


def test_two_documents_are_no_campaign(tmp_path: Path) -> None:
    problems(tmp_path, GOOD + "---\n" + GOOD)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(CampaignInvalid, match="UTF-8"):
        load(tmp_path, b"campaign: \xff\xfe\n")


@pytest.mark.parametrize("text", [b"campaign: a\x00b\n", b"campaign: \x07\n"])
def test_control_characters(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(CampaignInvalid):
        load(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CampaignInvalid, match="No such file") as caught:
        load_campaign(tmp_path / "none.yaml")
    assert caught.value.hint
    with pytest.raises(CampaignInvalid, match="Is a directory"):
        load_campaign(tmp_path)


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(CampaignInvalid, match="over 100 kB"):
        load_campaign(Path("/dev/zero"))


def test_a_file_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(CampaignInvalid, match="over 100 kB"):
        load(tmp_path, GOOD + "#" * 100_001)


def test_aliases_do_not_explode(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    with pytest.raises(CampaignInvalid):
        load(tmp_path, GOOD + bomb)


def test_yaml_1_2_words(tmp_path: Path) -> None:
    text = GOOD.replace("campaign: night", "campaign: NO")
    assert load(tmp_path, text).campaign == "NO"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("QOS=FAST", "PIC-DCACHE", "more than one rule for PIC-DCACHE"),
        ("end:", "access: {analyse: true}\nend:", "needs ROOT files"),
        (
            "  - rse_expression: PIC-DCACHE\n  - rse_expression: QOS=FAST\n    lifetime: 1h\n",
            "  []\n",
            "must not be empty",
        ),
    ],
)
def test_parts_that_do_not_fit_together(tmp_path: Path, old: str, new: str, reason: str) -> None:
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert reason in " ".join(text for _, _, text in found)


def test_no_copy_must_be_left_nowhere(tmp_path: Path) -> None:
    source = "source: {kind: directory, path: inbox, free: true}\n"
    text = GOOD.replace(GOOD[GOOD.index("source:") : GOOD.index("upload:")], source)
    assert "no copy" in problems(tmp_path, text)[0][2]


@pytest.mark.parametrize(
    ("key", "reason"),
    [("dataset: '{nope}'", "nope"), ("grammars: [hess]", "hess"), ("dataset: '{run'", "")],
)
def test_naming_that_cannot_be(tmp_path: Path, key: str, reason: str) -> None:
    found = problems(tmp_path, GOOD + f"naming:\n  {key}\n")
    assert reason in found[0][2]
    assert found[0][0] in {16, 17}


def test_a_source_s_path_is_relative_to_the_campaign(tmp_path: Path) -> None:
    for path, absolute in (("inbox", tmp_path / "inbox"), ("/data", Path("/data"))):
        source = f"source: {{kind: directory, path: {path}}}\n"
        text = GOOD.replace(GOOD[GOOD.index("source:") : GOOD.index("upload:")], source)
        campaign = load(tmp_path, text)
        assert isinstance(campaign.source, DirectorySource)
        assert campaign.source.path == absolute


def test_a_loaded_campaign_does_not_change(tmp_path: Path) -> None:
    campaign = load(tmp_path, GOOD)
    with pytest.raises(ValidationError):
        campaign.scope = "CTA"


def test_a_bad_campaign_is_a_bad_request() -> None:
    assert issubclass(CampaignInvalid, UsageError)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("7d", 604800), (" 5 m ", 300), (3, 3)],
)
def test_durations(text: object, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5w", "-5s", "1e3", "5 minutes"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("500", 500), ("100kB", 100_000), ("1.5GB", 1_500_000_000), ("1GiB", 2**30)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "kB", "5KB", "-5", "1 PB", "lots"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)
