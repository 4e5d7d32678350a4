"""What a campaign file meant, and where to look first."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic.fields import FieldInfo
from tests.unit.campaign.test_load import GOOD, load, problems

from rucio_inject.campaign.model import IN_WORDS, Model
from rucio_inject.campaign.schema import Campaign


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


def with_source(text: str) -> str:
    """A campaign with another source, which begins in line 3."""
    return "campaign: c\nscope: M\nsource:\n" + text + GOOD[GOOD.index("upload:") :]


SECRET = "https://hooks.example.org/T0P-SECRET"


@pytest.mark.parametrize(
    ("more", "where"),
    [
        (f"notify: {{webhook: {{url: {{env: '{SECRET}'}}}}}}", "notify.webhook.url"),
        (f"notify: {{webhook: {{url: {{'{SECRET}'}}}}}}", "notify.webhook.url"),
        (f"notify: {{webhook: {{url: {{'{SECRET}': 1}}}}}}", "notify.webhook.url"),
        (f"notify: {{webhook: {{url: {{file: '~{SECRET}'}}}}}}", "notify.webhook.url"),
        (f"notify: {{webhook: {{url: ['{SECRET}']}}}}", "notify.webhook.url"),
        (f"notify: {{webhook: {{url: 'x{SECRET}'}}}}", "notify.webhook.url"),
        (f"metrics: {{opensearch: {{url: 'http://a', user: u, password: '{SECRET}'}}}}", None),
        (f"notify: {{webhook: {{url: '{SECRET}', url: '{SECRET}'}}}}", ""),
    ],
)
def test_no_error_shows_a_secret(tmp_path: Path, more: str, where: str | None) -> None:
    found = problems(tmp_path, f"{GOOD}{more}\n")
    assert "SECRET" not in str(found)
    wanted = "metrics.opensearch.password" if where is None else where
    assert wanted in [place for _, place, _ in found]


def test_no_error_shows_the_url_of_a_database(tmp_path: Path) -> None:
    source = f"  kind: sql\n  url: ['{SECRET}']\n  query: q\n  path: p\n"
    ((line, where, why),) = problems(tmp_path, with_source(source))
    assert (line, where) == (5, "source.url")
    assert "SECRET" not in why


def models(of: type[Model]) -> list[type[Model]]:
    """Every part of a campaign."""
    own = [one for one in of.__subclasses__() if one.__module__.startswith("rucio_inject.")]
    return own + [deeper for one in own for deeper in models(one)]


def fields() -> dict[str, FieldInfo]:
    """Every key of a campaign, by model and name."""
    return {
        f"{model.__name__}.{name}": field
        for model in models(Model)
        for name, field in model.model_fields.items()
    }


def patterns(schema: object) -> set[str]:
    """All patterns of a JSON schema."""
    if isinstance(schema, list):
        return set().union(*map(patterns, schema))
    if not isinstance(schema, dict):
        return set()
    own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
    return own.union(set(schema.get("patternProperties", {})), *map(patterns, schema.values()))


def test_every_pattern_is_told_in_words() -> None:
    found = patterns(Campaign.model_json_schema())
    assert len(found) > 5
    assert found <= set(IN_WORDS)


def test_every_key_is_described() -> None:
    assert len(fields()) > 80
    assert [name for name, field in fields().items() if not field.description] == []


GRAMMAR = "{name: a, experiment: A, pattern: '(?P<run>.)'"


def test_an_index_that_cannot_be(tmp_path: Path) -> None:
    more = "metrics:\n  opensearch: {url: 'http://a', index: Big}\n"
    ((line, where, why),) = problems(tmp_path, GOOD + more)
    assert (line, where) == (17, "metrics.opensearch.index")
    assert why.startswith("must begin with a small letter")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            f"naming:\n  grammars:\n    - {GRAMMAR}, example: aa}}",
            (18, "naming.grammars.0", "'aa' does not fit the pattern"),
        ),
        (
            f"naming:\n  grammars:\n    - {GRAMMAR}}}",
            (18, "naming.grammars.0.example", "missing"),
        ),
        ("naming:\n  grammars: [3]", (17, "naming.grammars.0", "must be text: put it into quotes")),
        (
            "access:\n  sample: 0",
            (
                17,
                "access.sample",
                "must be a number of files, or a share of them: write it as 5 or 10%",
            ),
        ),
        (
            "access:\n  sample: 150%",
            (
                17,
                "access.sample",
                "must be a number of files, or a share of them: write it as 5 or 10%",
            ),
        ),
        (
            "ledger: 5",
            (16, "ledger", "must be a path, or a database's URL, as text: put it into quotes"),
        ),
        ("limits:\n  per_rse:\n    X: {rate: 5}", (18, "limits.per_rse.X.rate", "unknown key")),
        ("schedule: {timezone: UTC}", (16, "schedule", "must have either cron or every")),
    ],
)
def test_one_problem_with_the_key_s_own_path(
    tmp_path: Path, more: str, problem: tuple[int, str, str]
) -> None:
    assert problems(tmp_path, f"{GOOD}{more}\n") == [problem]


INBOX = "  kind: inbox\n  path: x\n"


@pytest.mark.parametrize(
    ("source", "line", "where"),
    [
        (INBOX + "  watermark: {high: 80%, low: 70%}\n", 6, "source.watermark"),
        (
            INBOX + "  free: true\n  watermark:\n    high: 70%\n    low: 80%\n",
            9,
            "source.watermark.low",
        ),
        (INBOX + "  complete:\n    stable: null\n    checksums: false\n", 6, "source.complete"),
        ("  kind: rse\n  rse: X\n", 5, "source.rse"),
        ("  kind: rse\n  pfns: l\n  folder: f\n", 6, "source.folder"),
        (
            "  kind: sql\n  url: u\n  query: q\n  path: p\n  parameters: {a: [1]}\n",
            8,
            "source.parameters.a",
        ),
    ],
)
def test_what_is_odd_in_a_source_has_its_line(
    tmp_path: Path, source: str, line: int, where: str
) -> None:
    ((found, place, _),) = problems(tmp_path, with_source(source))
    assert (found, place) == (line, where)
