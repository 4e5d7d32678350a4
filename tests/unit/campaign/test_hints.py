"""What a campaign file meant, and where to look first."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.campaign.test_load import GOOD, load, problems


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("rules:", "ruels:", (10, "ruels", "unknown key: did you mean rules?")),
        ("end:", "edn:", (14, "edn", "unknown key: did you mean end?")),
        (
            "    lifetime: 1h",
            "    lifetmie: 1h",
            (13, "rules.1.lifetmie", "unknown key: did you mean lifetime?"),
        ),
        # The key that it is like is there already.
        ("scope: MAGIC", "scope: MAGIC\nscoep: M", (3, "scoep", "unknown key")),
        ("scope: MAGIC", "scope: MAGIC\nxyz: M", (3, "xyz", "unknown key")),
    ],
)
def test_an_unknown_key_is_told_with_the_one_it_is_like(
    tmp_path: Path, old: str, new: str, told: tuple[int, str, str]
) -> None:
    assert told in problems(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("end:", "access:\n  keep: true\n  analyse: true\nend:", 16),
        ("QOS=FAST", "PIC-DCACHE", 12),
    ],
)
def test_keys_that_do_not_go_together_have_a_line(
    tmp_path: Path, old: str, new: str, line: int
) -> None:
    assert [found[0] for found in problems(tmp_path, GOOD.replace(old, new, 1))] == [line]


def test_a_source_that_would_leave_no_copy_has_a_line(tmp_path: Path) -> None:
    source = "source:\n  kind: directory\n  path: x\n  free: true\n"
    text = "campaign: c\nscope: M\n" + source + GOOD[GOOD.index("upload:") :]
    assert [found[0] for found in problems(tmp_path, text)] == [6]


@pytest.mark.parametrize(
    "expression",
    ["'PIC-DCACHE&&'", "'|A'", "A\\", "(A", "A)", "')A('", "'A&|B'", "'A & B'", "()", "'(|A)'"],
)
def test_an_expression_that_no_rucio_reads(tmp_path: Path, expression: str) -> None:
    ((line, where, why),) = problems(tmp_path, GOOD.replace("QOS=FAST", expression, 1))
    assert (line, where) == (12, "rules.1.rse_expression")
    assert why.startswith("must be an RSE expression")


@pytest.mark.parametrize(
    "expression", ["'*'", "A|B", "'(tier=1&country=de)\\X-Y_Z'", "'((A))'", "size>3", "'*\\A'"]
)
def test_an_expression_that_rucio_reads(tmp_path: Path, expression: str) -> None:
    campaign = load(tmp_path, GOOD.replace("QOS=FAST", expression, 1))
    assert campaign.rules[1].rse_expression == expression.strip("'")


def test_paths_are_told_without_detours(tmp_path: Path) -> None:
    text = "campaign: c\nscope: M\nsource: {kind: directory, path: ../in}\n"
    text += GOOD[GOOD.index("upload:") :] + f"output: {tmp_path}/x/../out\nseed_ledger: s.json\n"
    folder = tmp_path / "here"
    folder.mkdir()
    campaign = load(folder, text)
    assert getattr(campaign.source, "path", None) == tmp_path / "in"
    assert campaign.output_folder == tmp_path / "out"
    assert campaign.ledger_place == tmp_path / "out" / "c.db"
    assert campaign.seed_ledger_path == tmp_path / "out" / "s.json"
    ledger = campaign.model_copy(update={"ledger": tmp_path / "x" / ".." / "l.db"})
    assert ledger.ledger_place == tmp_path / "l.db"
