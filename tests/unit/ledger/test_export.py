"""What leaves a ledger in shapes that others read, and a ledger of 2020 that comes in."""

from __future__ import annotations

import csv
import io
import json
import os
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from rucio_inject.cli.main import cli
from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, LedgerError, UsageError
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.story import begin_file
from rucio_inject.ledger import export
from rucio_inject.ledger.seed_json import by_dataset, seed_entry
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.ledger import (
    FILE,
    NOON,
    SIBLING,
    begun,
    found,
    life,
    rule_facts,
)
from rucio_inject.testing.contracts.world import measured

CAMPAIGN = """\
campaign: magic
scope: magic
source: {kind: directory, path: inbox}
upload: {rse: PIC-DCACHE}
rules: [{rse_expression: QOS=FAST}]
"""
LATE = DID("magic", "late.root")


def invoke(*arguments: object) -> Result:
    """Give a command; what it raises is in the answer."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def run(*arguments: object) -> str:
    """What a command prints that must succeed."""
    answer = invoke(*arguments)
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return answer.stdout


def error_of(*arguments: object) -> InjectError:
    """What a command is refused with."""
    error = invoke(*arguments).exception
    assert isinstance(error, InjectError), error
    return error


def reading(folder: Path) -> SqlLedger:
    """The campaign's ledger, to look into."""
    return SqlLedger(folder / "magic.db", "magic", clock=SystemClock(), reading=True)


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign file; its output folder is where it lies."""
    path = tmp_path / "c.yaml"
    path.write_text(f"{CAMPAIGN}output: {tmp_path}\n")
    return path


@pytest.fixture
def filled(campaign: Path) -> Path:
    """The same with a ledger: a file that is gone in cycle 1; one that failed, and one that was
    only found, in cycle 2."""
    failed = f.FileFailed(at=NOON, did=SIBLING, code="storage", reason='a "b", c\nd', hint=None)
    with SqlLedger(campaign.parent / "magic.db", "magic", clock=SystemClock()) as ledger:
        ledger.record([begun(), found(FILE), *life(FILE), *rule_facts()])
        ledger.record([begun(2), found(SIBLING, 2), *life(SIBLING)[:9], failed, found(LATE, 2)])
    return campaign


def exported(campaign: Path, format_: str, *more: object) -> str:
    """What an export writes to standard output."""
    return run("ledger", "export", campaign, "--format", format_, *more)


class TestExport:
    """`rucio-inject ledger export`."""

    def test_seed_is_what_the_seed_shape_is(self, filled: Path) -> None:
        # The rule is of the first cycle, but of the same dataset: it holds for its files, too.
        assert set(json.loads(exported(filled, "seed"))) == {"b.root"}
        everything = exported(filled, "seed", "--all-cycles")
        assert list(json.loads(everything)) == ["a.root", "b.root"]
        with reading(filled.parent) as ledger:
            rules = export.rules_by_dataset(ledger._database, 1)(found(FILE).dataset)
            assert [rule.rule_id for rule in rules] == ["r1"]
            of = by_dataset(rules)
            same = {
                record.did.name: seed_entry(record, of(record.dataset))
                for record in ledger.all_files()
                if record.measure is not None
            }
        assert everything == json.dumps(same, indent=1)

    def test_seed_of_nothing(self, campaign: Path) -> None:
        with SqlLedger(campaign.parent / "magic.db", "magic", clock=SystemClock()) as ledger:
            ledger.record([begun(), found(FILE)])
        assert json.loads(exported(campaign, "seed")) == {}

    def test_seed_has_no_room_for_scopes(self, filled: Path) -> None:
        twin = DID("lst", SIBLING.name)
        with SqlLedger(filled.parent / "magic.db", "magic", clock=SystemClock()) as ledger:
            ledger.record([found(twin, 2)])
        error = error_of("ledger", "export", filled, "--format", "seed")
        assert isinstance(error, LedgerError)
        assert "b.root is on record in more than one scope" in error.message
        assert len(exported(filled, "jsonl").splitlines()) == 3

    def test_jsonl(self, filled: Path) -> None:
        objects = [json.loads(line) for line in exported(filled, "jsonl").splitlines()]
        assert [o["did"] for o in objects] == ["magic:b.root", "magic:late.root"]
        assert objects[0]["schema"] == 1
        assert objects[0]["failure"]["reason"] == 'a "b", c\nd'
        assert len(exported(filled, "jsonl", "--all-cycles").splitlines()) == 3

    def test_csv(self, filled: Path) -> None:
        gone, failed, fresh = csv.DictReader(io.StringIO(exported(filled, "csv", "--all-cycles")))
        assert list(gone) == list(export.COLUMNS)
        assert (gone["name"], gone["state"], gone["source"]) == ("a.root", "GONE", "FREED")
        assert (gone["size"], gone["generated"], gone["adopted"]) == ("5", "true", "false")
        assert gone["found_at"] == "2026-03-01T12:00:00.000250Z"
        assert gone["freed_at"] == "2026-03-01T12:00:01.000250Z"
        assert (gone["replicas"], gone["read_back"], gone["gone"]) == ("", "A", "A")
        assert gone["containers"] == "magic:2020_02_03"
        assert json.loads(gone["metadata"])["run_number"] == 5089063
        assert (failed["failure_code"], failed["came_from"]) == ("storage", "REPLICATED")
        assert failed["failure_reason"] == 'a "b", c\nd'
        assert failed["replicas"] == "A"
        assert (fresh["size"], fresh["md5"], fresh["measured_at"]) == ("", "", "")

    def test_a_reason_may_hold_anything(self, filled: Path) -> None:
        odd = f.FileFailed(at=NOON, did=LATE, code="x", reason="a\0b\udcff", hint=None)
        with SqlLedger(filled.parent / "magic.db", "magic", clock=SystemClock()) as ledger:
            ledger.record([odd])
        out = filled.parent / "x"
        for format_ in ("csv", "jsonl"):
            run("ledger", "export", filled, "--format", format_, "--out", out)
        assert json.loads(out.read_text().splitlines()[1])["failure"]["reason"] == "a\0b\udcff"

    @pytest.mark.parametrize("format_", ["seed", "csv", "jsonl"])
    def test_a_file_is_there_whole(self, filled: Path, format_: str) -> None:
        out = filled.parent / "exports" / "x"
        assert exported(filled, format_, "--out", out) == ""
        assert out.read_text() == exported(filled, format_)
        assert list(out.parent.iterdir()) == [out]

    def test_what_fails_half_way_leaves_the_old_file(
        self, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = filled.parent / "x"
        out.write_text("old")

        def half(*_: object, **__: object) -> Iterator[FileRecord]:
            yield begin_file(found(FILE))
            raise LedgerError("the ledger is damaged")

        monkeypatch.setattr(SqlLedger, "all_files", half)
        error_of("ledger", "export", filled, "--format", "csv", "--out", out)
        assert out.read_text() == "old"
        assert sorted(p.name for p in out.parent.iterdir()) == ["c.yaml", "magic.db", "x"]

    def test_a_place_that_cannot_be_written(self, filled: Path) -> None:
        error = error_of("ledger", "export", filled, "--format", "csv", "--out", filled / "x")
        assert isinstance(error, UsageError)
        assert "cannot write" in error.message

    def test_parquet_needs_a_file_and_its_extra(
        self, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        error = error_of("ledger", "export", filled, "--format", "parquet", "--out", "x")
        assert error.hint == "pip install 'rucio-inject[parquet]'"
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
        assert "standard output" in str(error_of("ledger", "export", filled, "--format", "parquet"))

    def test_memory_is_flat(self) -> None:
        record = begin_file(found(FILE))
        rows = (replace(record, did=DID("magic", str(number))) for number in range(5_000))
        with Path(os.devnull).open("w") as nowhere:
            tracemalloc.start()
            try:
                export.write_csv(nowhere, rows)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert peak < 500_000


def test_parquet_holds_the_same_as_csv(filled: Path) -> None:
    out = filled.parent / "x.parquet"
    run("ledger", "export", filled, "--format", "parquet", "--out", out, "--all-cycles")
    table = parquet.read_table(out)
    assert table.column_names == list(export.COLUMNS)
    gone, failed, fresh = table.to_pylist()
    assert (gone["size"], gone["generated"], gone["gone"]) == (5, True, ["A"])
    assert gone["found_at"] == NOON
    assert failed["failure_reason"] == 'a "b", c\nd'
    assert (fresh["size"], fresh["replicas"]) == (None, [])


NAME = "20201026_M1_36973941.005_D_1ES1959_650-W0.40_000.root"
CONTENT = b"what the telescope saw"
MEASURE = measured(CONTENT)
T0 = datetime(2020, 10, 26, 11, 26, 21, tzinfo=UTC)


def at(seconds: int) -> str:
    """A time as the seed writes it."""
    return (T0 + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_back(seconds: int, **more: str) -> dict[str, str]:
    """What the seed says of an RSE that served a good download."""
    md5 = str(MEASURE.md5)
    given = {"registered": at(seconds), "downloaded": at(seconds + 2), "checksum": md5}
    return given | more


class TestImport:
    """`rucio-inject ledger import`."""

    def seed(self, campaign: Path, replicated: dict[str, Any], **more: object) -> Path:
        """A seed ledger of one file, whose source is there."""
        source = campaign.parent / "inbox" / NAME
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(CONTENT)
        local = {"registered": at(0), "checksum": MEASURE.md5, "path": str(source)}
        entry = {"Scope": "magic", "Replicated": {"Local": local, **replicated}}
        path = campaign.parent / "seed.json"
        path.write_text(json.dumps({NAME: entry, **more}))
        return path

    def imported(self, campaign: Path, seed: Path) -> FileRecord:
        """The record of the file after an import."""
        run("ledger", "import", campaign, seed)
        with reading(campaign.parent) as ledger:
            record = ledger.file(DID("magic", NAME))
        assert record is not None
        return record

    @pytest.mark.parametrize(
        ("replicated", "state"),
        [
            ({}, FileState.MEASURED),
            ({"PIC-DCACHE": {}}, FileState.MEASURED),
            ({"PIC-DCACHE": {"registered": at(3)}}, FileState.REGISTERED),
            ({"PIC-DCACHE": read_back(3)}, FileState.REGISTERED),
            # However much was proved then, this campaign's rules were not asked for.
            (
                {"PIC-DCACHE": read_back(3, path="p"), "INFN": read_back(4, path="q")},
                FileState.REGISTERED,
            ),
            (
                {"PIC-DCACHE": read_back(3), "INFN": read_back(4, checksum="0" * 32)},
                FileState.QUARANTINED,
            ),
            ({"PIC-DCACHE": read_back(3, deleted=at(99))}, FileState.QUARANTINED),
            (
                {"PIC-DCACHE": read_back(3), "INFN": read_back(4, state="DEAD")},
                FileState.REGISTERED,
            ),
        ],
    )
    def test_a_state_needs_its_evidence(
        self, campaign: Path, replicated: dict[str, Any], state: FileState
    ) -> None:
        seed = self.seed(campaign, replicated)
        assert f"1  {state}" in run("ledger", "import", campaign, seed, "-n")
        assert not (campaign.parent / "magic.db").exists()
        record = self.imported(campaign, seed)
        assert record.state is state
        assert (record.found_at, record.measure, record.measured_at) == (T0, MEASURE, T0)
        assert (record.dataset, record.generated) == (DID("magic", "36973941"), False)
        assert record.adopted is ("registered" in replicated.get("PIC-DCACHE", {}))

    def test_what_was_proved_of_replicas_is_kept(self, campaign: Path) -> None:
        replicated = {
            "PIC-DCACHE": read_back(3, path="p"),
            "INFN-NA-DPM": read_back(4),
            "ALIVE": {"registered": at(4), "copied": at(9), "state": "ALIVE"},
            "DEAD": read_back(4, state="DEAD"),
            "ASKED": {"registered": at(4)},
            "QOS=FAST": read_back(4),
        }
        record = self.imported(campaign, self.seed(campaign, replicated))
        assert set(record.replicas) == {"PIC-DCACHE", "INFN-NA-DPM", "ALIVE"}
        read = record.replicas["PIC-DCACHE"]
        assert (read.pfn, read.read_back) == ("p", MEASURE)
        assert (read.registered_at, read.read_back_at) == (
            T0 + timedelta(seconds=3),
            T0 + timedelta(seconds=5),
        )
        assert record.replicas["INFN-NA-DPM"].read_back is None, "its PFN is not known"
        assert record.replicas["ALIVE"].registered_at == T0 + timedelta(seconds=9)

    def test_a_mismatch_is_told(self, campaign: Path) -> None:
        seed = self.seed(campaign, {"PIC-DCACHE": read_back(3, checksum="0" * 32)})
        failure = self.imported(campaign, seed).failure
        assert failure is not None
        assert failure.code == "checksum-mismatch"
        assert failure.came_from is FileState.REGISTERED
        assert "other bytes from PIC-DCACHE" in failure.reason
        assert f"downloaded {at(5)}" in failure.reason

    @pytest.mark.parametrize(
        ("now", "code"), [(None, "source-unreadable"), (b"x", "source-changed")]
    )
    def test_without_its_source_nothing_is_proved(
        self, campaign: Path, now: bytes | None, code: str
    ) -> None:
        seed = self.seed(campaign, {"PIC-DCACHE": read_back(3, path="p")})
        source = campaign.parent / "inbox" / NAME
        source.unlink() if now is None else source.write_bytes(now)
        record = self.imported(campaign, seed)
        assert record.failure is not None
        assert (record.state, record.failure.code) == (FileState.QUARANTINED, code)
        assert f"PIC-DCACHE registered {at(3)}" in record.failure.reason

    def test_a_cycle_is_open_for_the_next_run(self, campaign: Path) -> None:
        self.imported(campaign, self.seed(campaign, {}))
        with reading(campaign.parent) as ledger:
            assert (ledger.cycle, ledger.cycle_ended) == (1, False)
            assert ledger.counts() == {FileState.MEASURED: 1}

    def test_an_ended_cycle_begins_again(self, campaign: Path) -> None:
        with SqlLedger(campaign.parent / "magic.db", "magic", clock=SystemClock()) as ledger:
            ledger.record([begun(), found(FILE), f.CycleEnded(at=NOON, cycle=1)])
        self.imported(campaign, self.seed(campaign, {}))
        with reading(campaign.parent) as ledger:
            assert (ledger.cycle, ledger.cycle_ended) == (1, False)
            assert sum(ledger.counts().values()) == 2

    def test_what_is_on_record_is_refused(self, campaign: Path) -> None:
        seed = self.seed(campaign, {})
        self.imported(campaign, seed)
        for more in ((), ("-n",)):
            error = error_of("ledger", "import", campaign, seed, *more)
            assert f"entry {NAME}: magic:{NAME} is on record already" in error.message

    @pytest.mark.parametrize(
        ("entry", "told"),
        [
            ({}, "Scope: Field required"),
            ([], "it: Input should be"),
            ({"Scope": "magic"}, "Replicated: Field required"),
            ({"Scope": "magic", "Replicated": {"A": {"registered": "x"}}}, "A.registered"),
            ({"Scope": "magic", "Replicated": {"A": {"checksum": "x"}}}, "is not an md5"),
            ({"Scope": "lst", "Replicated": {}}, "it is lst:"),
            ({"Scope": "magic", "Replicated": {}}, "Local.path is None"),
            ({"Scope": "magic", "Replicated": {"Local": {"path": "x"}}}, "an absolute path"),
            (
                {"Scope": "magic", "Replicated": {"Local": {"path": "/x"}, "INFN": {}}},
                "was not uploaded to PIC-DCACHE",
            ),
        ],
    )
    def test_one_bad_entry_stops_all(self, campaign: Path, entry: object, told: str) -> None:
        bad = NAME.replace(".005_", ".006_")
        error = error_of("ledger", "import", campaign, self.seed(campaign, {}, **{bad: entry}))
        assert isinstance(error, UsageError)
        assert f"entry {bad}: " in error.message
        assert told in error.message
        assert not (campaign.parent / "magic.db").exists()

    def test_a_name_of_no_grammar(self, campaign: Path) -> None:
        entry = {"Scope": "magic", "Replicated": {}}
        error = error_of("ledger", "import", campaign, self.seed(campaign, {}, **{"x.txt": entry}))
        assert "entry x.txt: " in error.message

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "cannot be read as JSON"),
            ("[1]", "no seed ledger"),
            ('{"a": {}, "a": {}}', "'a' is there twice"),
            ("[" * 100_000, "cannot be read as JSON"),
        ],
    )
    def test_what_is_no_seed(self, campaign: Path, text: str, told: str) -> None:
        seed = campaign.parent / "seed.json"
        seed.write_text(text)
        assert told in error_of("ledger", "import", campaign, seed).message

    def test_a_seed_that_is_not_there(self, campaign: Path) -> None:
        assert "No such file" in error_of("ledger", "import", campaign, "/no/seed").message

    def test_nothing_is_imported_from_nothing(self, campaign: Path) -> None:
        seed = campaign.parent / "seed.json"
        seed.write_text("{}")
        assert run("ledger", "import", campaign, seed) == "0 files imported\n"
        assert not (campaign.parent / "magic.db").exists()

    def test_a_campaign_that_makes_its_files(self, campaign: Path) -> None:
        seed = self.seed(campaign, {})
        campaign.write_text(campaign.read_text().replace("directory, path: inbox", "mock"))
        assert "those of no directory" in error_of("ledger", "import", campaign, seed).message

    def test_an_export_comes_in_again(self, campaign: Path, tmp_path: Path) -> None:
        replicas = {"PIC-DCACHE": read_back(3, path="p"), "INFN": read_back(4, path="q")}
        self.imported(campaign, self.seed(campaign, replicas))
        again = tmp_path / "again.json"
        run("ledger", "export", campaign, "--format", "seed", "--out", again)
        other = tmp_path / "other"
        shown = run("ledger", "import", campaign, again, "--output", other, "--json")
        assert json.loads(shown) == {
            "schema": 1,
            "imported": {"REGISTERED": 1},
            "set_aside": [],
            "dry_run": False,
        }
