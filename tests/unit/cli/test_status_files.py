"""`status` and `files`, on a ledger in SQLite."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.ledger_databases import Location, location

from rucio_inject.cli import status
from rucio_inject.cli.ledger_look import relocated
from rucio_inject.cli.main import cli
from rucio_inject.cli.output import fitted
from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, UsageError
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.fact_json import KINDS
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.readings import overview as readings
from rucio_inject.testing.contracts.ledger import (
    FILE,
    MEASURE,
    NIGHT,
    NOON,
    RUN,
    SIBLING,
    begun,
    found,
    life,
    rule_facts,
)
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.words.facts import subject, told

__all__ = ["location"]

CAMPAIGN = """\
campaign: magic
scope: magic
source: {kind: directory, path: inbox}
upload: {rse: A}
rules: [{rse_expression: QOS=FAST}]
"""
BROKEN, LATE = DID("magic", "broken.root"), DID("magic", "late.root")
FAILED = f.FileFailed(
    at=NOON + timedelta(seconds=61), did=BROKEN, code="storage-refused", reason="full", hint="room"
)


def ledger_at(folder: Path) -> SqlLedger:
    """The campaign's ledger, for writing."""
    return SqlLedger(folder / "magic.db", "magic", clock=SystemClock())


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign file whose output folder holds a ledger: a file verified, one found, one set
    aside, one that waits, and a STUCK rule."""
    path = tmp_path / "c.yaml"
    path.write_text(f"{CAMPAIGN}output: {tmp_path}\n")
    with ledger_at(tmp_path) as ledger:
        ledger.record([begun(), *map(found, (FILE, SIBLING, BROKEN, LATE))])
        ledger.record([*life(FILE)[:10], life(BROKEN)[0], FAILED, *life(LATE)[:6]])
        ledger.record(rule_facts()[:3])
    return path


def run(*arguments: object, code: int = 0) -> str:
    """What a command prints to standard output, when it ends with a code."""
    answer = invoke(*arguments)
    assert answer.exit_code == code, (answer.output, answer.exception)
    return answer.stdout


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The message and the hint of a command that is refused."""
    error = invoke(*arguments).exception
    assert isinstance(error, UsageError), error
    return f"{error.message} → {error.hint}"


def one(*arguments: object) -> Any:
    """The one JSON object that a command prints."""
    return json.loads(run(*arguments))


def state_of(campaign: Path, did: DID) -> FileState | None:
    clock = SystemClock()
    with SqlLedger(campaign.parent / "magic.db", "magic", clock=clock, reading=True) as ledger:
        record = ledger.file(did)
        return record.state if record else None


class TestStatus:
    """`rucio-inject status`."""

    def test_everything_is_told(self, campaign: Path) -> None:
        shown = one("status", campaign, "--json")
        assert shown["schema"] == 1
        assert (shown["campaign"], shown["cycle"], shown["ended"]) == ("magic", 1, False)
        assert shown["ledger"] == str(campaign.parent / "magic.db")
        assert shown["holder"] is None
        assert shown["files"] == {
            "FOUND": 1,
            "REPLICATING": 1,
            "VERIFIED": 1,
            "QUARANTINED": 1,
        }
        assert shown["bytes"]["VERIFIED"] == 5
        assert shown["rules"]["by_state"] == {"STUCK": 1}
        assert shown["rules"]["not_ok"] == 1
        assert shown["rules"]["trouble"][0]["error"] == "NO_SOURCES"
        assert shown["quarantined"] == [
            {
                "code": "storage-refused",
                "files": 1,
                "example": "magic:broken.root",
                "reason": "full",
                "hint": "room",
            }
        ]
        assert shown["waiting"] == [
            {"reason": "A: SUBMITTED", "files": 1, "example": "magic:late.root"}
        ]
        assert shown["last_event"]["kind"] == "FileFailed", "by its moment, not as it was recorded"
        assert shown["last_event"]["subject"] == "magic:broken.root"
        assert shown["last_event"]["seconds_ago"] > 0
        assert shown["next"][-1] == f"go on: rucio-inject run {campaign}"

    def test_in_words(self, campaign: Path) -> None:
        shown = run("status", campaign)
        assert shown.startswith("magic, cycle 1 (open)\n")
        for words in (
            "held by       nobody",
            "files         4, 15 B",
            "        1       5 B  VERIFIED",
            "rules         1 not OK: 1 STUCK",
            "set aside     1 file: storage-refused",
            "such as magic:broken.root: full",
            "→ room",
            "waiting       1 file: A: SUBMITTED",
            "the next run tries them again",
        ):
            assert words in shown
        assert "\x1b" not in shown

    def test_rules_that_end_and_are_gone(self, campaign: Path) -> None:
        with ledger_at(campaign.parent) as ledger:
            ledger.record([*rule_facts("r2")[:4], *rule_facts("r3")])
        known = one("status", campaign, "--json")["rules"]
        assert (known["by_state"], known["ending"], known["gone"]) == ({"STUCK": 2}, 1, 1)
        assert "2 STUCK; 1 of them ending; 1 gone" in run("status", campaign)

    def test_other_cycles_and_campaigns_are_left_out(self, campaign: Path) -> None:
        with ledger_at(campaign.parent) as ledger:
            new = replace(found(DID("magic", "new"), cycle=2), at=NOON + timedelta(seconds=62))
            ledger.record([begun(2), new])
        place = campaign.parent / "magic.db"
        with SqlLedger(place, "lst", clock=SystemClock()) as other:
            other.record([begun(2), found(FILE, 2), *rule_facts("r9")[:3]])
        shown = one("status", campaign, "--json")
        assert (shown["cycle"], shown["files"]) == (2, {"FOUND": 1})
        assert (shown["rules"]["by_state"], shown["quarantined"]) == ({}, [])
        assert shown["last_event"]["subject"] == "magic:new"

    def test_a_run_that_goes_on_is_named(self, campaign: Path) -> None:
        with ledger_at(campaign.parent):
            shown = one("status", campaign, "--json")
            assert shown["holder"]["valid"]
            assert shown["holder"]["name"].startswith("process ")
            assert shown["next"] == ["nothing: a run goes on"]
            assert f"held by       {shown['holder']['name']}, since " in run("status", campaign)

    def test_a_lease_that_ran_out_holds_nothing(self, campaign: Path) -> None:
        with ledger_at(campaign.parent):
            later = FakeClock(SystemClock().now() + timedelta(hours=1))
            held = status.gather(campaign, None, later).held
        assert held is not None
        assert not held.valid

    def test_a_ledger_without_files(self, campaign: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        with ledger_at(other):
            pass
        shown = run("status", campaign, "--output", other)
        assert shown.startswith("magic, not begun\n")
        assert f"begin: rucio-inject run --output {other} {campaign}" in shown

    def test_an_end_leaves_nothing_to_do(self, campaign: Path) -> None:
        with ledger_at(campaign.parent) as ledger:
            ledger.record([begun(2), f.CycleEnded(at=NOON, cycle=2)])
        assert "nothing: the cycle has come to its end" in run("status", campaign)

    def test_every_campaign_is_looked_at(self, campaign: Path, tmp_path: Path) -> None:
        absent = tmp_path / "absent.yaml"
        absent.write_text(CAMPAIGN + f"output: {tmp_path / 'absent'}\n")
        answer = invoke("status", "--json", absent, campaign)
        assert answer.exit_code == 1
        assert "there is no ledger at" in answer.stderr
        assert "give --output if the run had it" in answer.stderr
        assert json.loads(answer.stdout)["campaign"] == "magic"
        assert len(run("status", "--json", campaign, campaign).splitlines()) == 2
        assert not (tmp_path / "absent").exists()

    def test_of_many_waiting_files_some_are_looked_at(
        self, campaign: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with ledger_at(campaign.parent) as ledger:
            more = [DID("magic", str(number)) for number in range(3)]
            for did in more:
                ledger.record([found(did), *life(did)[:5]])
                ledger.record([f.FileWaits(at=NOON, did=did, rse="B", reason="QUEUED")])
        reasons = one("status", campaign, "--json")["waiting"]
        assert [(r["reason"], r["files"]) for r in reasons] == [
            ("B: QUEUED", 3),
            ("A: SUBMITTED", 1),
        ]
        monkeypatch.setattr(readings, "WAITING_LOOKED_AT", 2)
        assert "(of the first 2 of 4 files)" in run("status", campaign)


def test_either_database_tells_the_same(location: Location, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{CAMPAIGN}ledger: {location}\n")
    with SqlLedger(location, "magic", clock=SystemClock()) as ledger:
        ledger.record([begun(), *map(found, (FILE, BROKEN, LATE)), *rule_facts("r3")])
        ledger.record([life(BROKEN)[0], FAILED, *life(LATE)[:6], *rule_facts()[:3]])
        assert one("status", path, "--json")["holder"]["valid"]
    shown = one("status", path, "--json")
    assert shown["files"] == {"FOUND": 1, "REPLICATING": 1, "QUARANTINED": 1}
    assert (shown["rules"]["by_state"], shown["rules"]["gone"]) == ({"STUCK": 1}, 1)
    assert shown["rules"]["trouble"][0]["id"] == "r1"
    assert shown["quarantined"][0]["example"] == str(BROKEN)
    assert shown["waiting"][0]["files"] == 1
    assert shown["last_event"]["kind"] == "FileFailed"
    assert one("files", "show", path, "brok", "--json")["did"] == str(BROKEN)
    assert "the nearest names: broken.root" in refused("files", "show", path, "brokken.root")
    assert len(run("files", "list", path, "--all-cycles").splitlines()) == 3
    assert len(run("ledger", "export", path, "--format", "seed")) > 2
    assert one("files", "retry", path, "--all", "--json")["retried"] == 1
    assert run("files", "forget", path, "a.root")


class TestList:
    """`rucio-inject files list`."""

    def names(self, *arguments: object) -> list[str]:
        """Names in a list, in its order."""
        lines = run("files", "list", *arguments, "--json").splitlines()
        return [json.loads(line)["did"] for line in lines]

    def test_in_the_order_of_finding(self, campaign: Path) -> None:
        everything = [str(did) for did in (FILE, SIBLING, BROKEN, LATE)]
        assert self.names(campaign) == everything
        assert self.names(campaign, "--limit", 2) == everything[:2]
        assert self.names(campaign, "--limit", 0) == []

    def test_by_state_and_dataset(self, campaign: Path) -> None:
        with ledger_at(campaign.parent) as ledger:
            ledger.record([replace(found(DID("magic", "x")), dataset=DID("magic", "other"))])
        chosen = self.names(campaign, "--state", "found", "--state", "VERIFIED")
        assert chosen == ["magic:a.root", "magic:b.root", "magic:x"]
        assert self.names(campaign, "--dataset", "magic:other") == ["magic:x"]
        assert self.names(campaign, "--dataset", "other", "--state", "found") == ["magic:x"]
        assert "name it as SCOPE:NAME" in refused("files", "list", campaign, "--dataset", ":x")

    def test_by_cycle(self, campaign: Path) -> None:
        with ledger_at(campaign.parent) as ledger:
            ledger.record([begun(2), found(DID("magic", "x"), cycle=2)])
        assert self.names(campaign) == ["magic:x"]
        assert len(self.names(campaign, "--cycle", 1)) == 4
        assert len(self.names(campaign, "--all-cycles")) == 5
        assert "cycle 3 is not on record" in refused("files", "list", campaign, "--cycle", 3)
        assert "give one" in refused("files", "list", campaign, "--cycle", 1, "--all-cycles")

    def test_lines(self, campaign: Path) -> None:
        assert run("files", "list", campaign).splitlines() == [
            "VERIFIED          5 B  magic:a.root",
            "FOUND               -  magic:b.root",
            "QUARANTINED       5 B  magic:broken.root  storage-refused",
            "REPLICATING       5 B  magic:late.root  A: SUBMITTED",
        ]

    def test_an_object_holds_all_that_is_on_record(self, campaign: Path) -> None:
        shown = json.loads(run("files", "list", campaign, "--json", "--limit", 1))
        assert shown["schema"] == 1
        assert (shown["dataset"], shown["containers"]) == (str(RUN), [str(NIGHT)])
        assert shown["replicas"]["A"]["read_back"]["md5"] == MEASURE.md5


class TestShow:
    """`rucio-inject files show`."""

    @pytest.mark.parametrize("name", ["magic:a.root", "a.root", "a", "magic:a"])
    def test_a_name_may_be_short(self, campaign: Path, name: str) -> None:
        assert one("files", "show", campaign, name, "--json")["did"] == "magic:a.root"

    def test_a_whole_name_is_taken_before_longer_ones(self, campaign: Path) -> None:
        with ledger_at(campaign.parent) as ledger:
            ledger.record([found(DID("magic", "a.root.2"))])
        assert one("files", "show", campaign, "a.root", "--json")["did"] == "magic:a.root"

    def test_a_name_of_several_files(self, campaign: Path) -> None:
        told_ = refused("files", "show", campaign, "b")
        assert "more than one file on record: magic:b.root, magic:broken.root" in told_
        with ledger_at(campaign.parent) as ledger:
            ledger.record([found(DID("lst", "a.root"))])
        assert "give its scope, too" in refused("files", "show", campaign, "a.root")
        assert one("files", "show", campaign, "lst:a.root", "--json")["did"] == "lst:a.root"

    def test_an_unknown_name_tells_the_nearest(self, campaign: Path) -> None:
        assert "the nearest names: broken.root" in refused("files", "show", campaign, "brocken.ro")
        assert "files list" in refused("files", "show", campaign, "zzz")
        assert "not on record" in refused("files", "show", campaign, "A.root")
        assert "not on record" in refused("files", "show", campaign, "a_root")
        assert "not on record" in refused("files", "show", campaign, "a\udcff")
        assert "not of the form scope:name" in refused("files", "show", campaign, "magic:")
        assert "a name is empty" in refused("files", "retry", campaign, "")

    def test_every_fact_comes_with_time_and_words(self, campaign: Path) -> None:
        facts = one("files", "show", campaign, "a.root", "--json")["facts"]
        assert [fact["kind"] for fact in facts] == [
            type(fact).__name__ for fact in (found(FILE), *life(FILE)[:10])
        ]
        assert (facts[0]["at"], facts[0]["elapsed"]) == ("2026-03-01T12:00:00.000250Z", 0)
        assert facts[-1]["elapsed"] == 1
        shown = run("files", "show", campaign, "a.root")
        for fact in facts:
            assert fact["words"] in shown
        assert "2026-03-01T12:00:01Z         +1.0 s  source read: 5 B" in shown

    def test_what_an_audit_repaired(self, campaign: Path) -> None:
        repairs = [fact for fact in OTHERS if isinstance(fact, (f.RepairAsked, f.RepairMade))]
        with ledger_at(campaign.parent) as ledger:
            ledger.record(repairs)
        kinds = [fact["kind"] for fact in one("files", "show", campaign, FILE, "--json")["facts"]]
        assert kinds[-2:] == ["RepairAsked", "RepairMade"]

    def test_checksums_errors_and_retries(self, campaign: Path) -> None:
        other = measured(b"other bytes")
        with ledger_at(campaign.parent) as ledger:
            ledger.record([f.FileRetried(at=NOON, did=BROKEN), *life(BROKEN)[1:8]])
            ledger.record([f.ReplicaRead(at=NOON, did=BROKEN, rse="A", pfn="p", measure=other)])
            ledger.record([replace(FAILED, code="checksum-mismatch", reason="other bytes")])
        shown = one("files", "show", campaign, "broken", "--json")
        assert [(c["where"], c["equal"]) for c in shown["checksums"]] == [
            ("source", True),
            ("A", False),
        ]
        assert shown["checksums"][1]["differences"][0] == "size: 5 != 11"
        assert [e["code"] for e in shown["errors"]] == ["storage-refused", "checksum-mismatch"]
        assert (shown["errors"][0]["hint"], shown["retries"]) == ("room", 1)
        text = run("files", "show", campaign, "broken")
        for words in (
            "QUARANTINED, came from REPLICATED",
            "DIFFERENT",
            "size: 5 != 11",
            "storage-refused: full",
            "→ room",
            "retried       1 time",
        ):
            assert words in text
        assert "A       5 B  adler32" in run("files", "show", campaign, "a.root")
        assert "same as the source" in run("files", "show", campaign, "a.root")

    def test_rules_of_its_dataset(self, campaign: Path) -> None:
        shown = one("files", "show", campaign, "a.root", "--json")
        assert [fact["kind"] for fact in shown["dataset_facts"]] == ["RuleAsked"]
        rule = shown["rules"][0]
        assert (rule["id"], rule["state"], rule["error"]) == ("r1", "STUCK", "NO_SOURCES")
        assert [fact["kind"] for fact in rule["facts"]] == ["RuleMade", "RuleChanged"]
        text = run("files", "show", campaign, "a.root")
        assert "rule r1 to QOS=FAST: STUCK" in text
        assert "STUCK (NO_SOURCES); locks: 1 OK, 0 replicating, 1 stuck" in text

    def test_replicas(self, campaign: Path) -> None:
        with ledger_at(campaign.parent) as ledger:
            ledger.record(life(FILE)[10:])
        text = run("files", "show", campaign, "a.root")
        line = next(line for line in text.splitlines() if line.startswith("  A  registered"))
        assert "read back 2026-03-01T12:00:01Z, gone 2026-03-01T12:00:01Z" in line
        assert "    file://localhost/a.root" in text
        assert "(FREED, made for the lake)" in text


class TestRetry:
    """`rucio-inject files retry`."""

    @pytest.mark.parametrize(
        "chosen", [["broken", "broken.root"], ["--all"], ["--code", "storage-refused"]]
    )
    def test_a_file_goes_back_to_where_it_came_from(
        self, campaign: Path, chosen: list[str]
    ) -> None:
        assert one("files", "retry", campaign, *chosen, "-n", "--json")["retried"] == 1
        assert state_of(campaign, BROKEN) is FileState.QUARANTINED
        assert run("files", "retry", campaign, *chosen).startswith("1 file goes on")
        assert state_of(campaign, BROKEN) is FileState.MEASURED

    def test_what_is_not_set_aside_is_refused(self, campaign: Path) -> None:
        told_ = refused("files", "retry", campaign, "broken.root", "a.root")
        assert "magic:a.root is VERIFIED" in told_
        assert state_of(campaign, BROKEN) is FileState.QUARANTINED, "all names are looked at first"
        assert "no file is set aside with code x" in refused(
            "files", "retry", campaign, "--code", "x"
        )
        run("files", "retry", campaign, "--all")
        assert run("files", "retry", campaign, "--all").startswith("0 files")

    def test_files_of_another_cycle_are_refused(self, campaign: Path) -> None:
        with ledger_at(campaign.parent) as ledger:
            ledger.record([begun(2)])
        assert "is of cycle 1" in refused("files", "retry", campaign, "broken.root")
        assert one("files", "retry", campaign, "--all", "--json")["retried"] == 0

    @pytest.mark.parametrize("chosen", [[], ["a", "--all"], ["--all", "--code", "x"]])
    def test_one_way_to_choose(self, campaign: Path, chosen: list[str]) -> None:
        assert "which files?" in refused("files", "retry", campaign, *chosen)

    def test_a_run_goes_first(self, campaign: Path) -> None:
        with ledger_at(campaign.parent):
            error = invoke("files", "retry", campaign, "--all").exception
        assert isinstance(error, LedgerError)
        assert "in use by process" in error.message
        assert state_of(campaign, BROKEN) is FileState.QUARANTINED

    def test_many_files_in_batches(self, campaign: Path) -> None:
        dids = [DID("magic", f"{number:04}") for number in range(1100)]
        with ledger_at(campaign.parent) as ledger:
            ledger.record([*map(found, dids), *(replace(FAILED, did=did) for did in dids)])
        assert one("files", "retry", campaign, "--all", "--json")["retried"] == 1101
        assert one("status", campaign, "--json")["quarantined"] == []


class TestForget:
    """`rucio-inject files forget`."""

    def test_only_what_is_nowhere(self, campaign: Path) -> None:
        answer = invoke("files", "forget", campaign, "a.root", "b.root", "magic:b.root")
        assert answer.exit_code == 1
        assert "magic:a.root cannot be forgotten: it may still be at A" in answer.stderr
        assert answer.stdout == "magic:b.root is off the record\n"
        assert state_of(campaign, FILE) is FileState.VERIFIED
        assert state_of(campaign, SIBLING) is None

    def test_as_json(self, campaign: Path) -> None:
        shown = json.loads(run("files", "forget", campaign, "a.root", "b.root", "--json", code=1))
        assert shown["forgotten"] == ["magic:b.root"]
        assert "may still be at A" in shown["refused"][0]["reason"]

    def test_names_must_be_whole(self, campaign: Path) -> None:
        assert "only the beginning of magic:late" in refused("files", "forget", campaign, "late")

    def test_the_story_stays(self, campaign: Path) -> None:
        run("files", "forget", campaign, "b.root")
        shown = one("files", "show", campaign, "b.root", "--json")
        assert shown["file"] is None
        assert [fact["kind"] for fact in shown["facts"]] == ["FileFound"]
        assert "it was forgotten" in run("files", "show", campaign, "b.root")
        # A dataset has a story, too, but is no file.
        assert "not on record" in refused("files", "show", campaign, str(RUN))


COUNTED = f.RSECounted(at=NOON, rse="A", catalogue=Usage(2, 9), storage=None)
OTHERS: list[f.Fact] = [
    f.CycleBegun(at=NOON, cycle=1),
    f.CollectionClosing(at=NOON, did=FILE),
    f.ReplicaTold(at=NOON, did=FILE, rse="A", pfn="p", size=1, adler32="00000001"),
    f.FileAnnounced(at=NOON, did=FILE, announced=Announced(md5="0" * 32)),
    f.CycleEnded(at=NOON, cycle=1),
    f.UploadRSEChosen(at=NOON, rse="A"),
    f.ScopeMade(at=NOON, scope="magic", account="root"),
    f.AttributeAsked(at=NOON, rse="A", key="k", before=None, value=False),
    f.NameSkipped(at=NOON, path="/x", code="name", reason="no", hint=None),
    f.CollectionAsked(at=NOON, did=RUN),
    f.CollectionEnding(at=NOON, did=RUN),
    f.CollectionGone(at=NOON, did=RUN),
    f.AnalysisMade(at=NOON, files=1, events=2, headline="θ²", paths=()),
    f.FileDescribed(at=NOON, did=FILE),
    f.UploadLeftNothing(at=NOON, did=FILE, rse="A"),
    f.FileSetBack(at=NOON, did=FILE, state=FileState.MEASURED, reason="it was reaped"),
    f.SourceFreeing(at=NOON, did=FILE),
    f.SourceKept(at=NOON, did=FILE, reason="a copy was lost"),
    f.SourceSentAgain(at=NOON, did=FILE, measure=measured(b"events")),
    f.RuleKept(at=NOON, rule_id="r1", reason="a copy was lost"),
    f.RuleRefused(at=NOON, dataset=RUN, request=RuleRequest("B"), reason="no quota"),
    f.FileRetried(at=NOON, did=FILE),
    f.CallRetried(at=NOON, call="look_up", reason="away", pause=0.5),
    f.RepairAsked(
        at=NOON, finding="lost", subject=str(FILE), rse="A", repair="mark bad", reason="not there"
    ),
    f.RepairMade(
        at=NOON, finding="lost", subject=str(FILE), rse="A", repair="mark bad", error=None
    ),
    FAILED,
    COUNTED,
    f.RunBegun(at=NOON, process="process 1 on a"),
    f.DrainOrdered(at=NOON, on=True, by="eva on a", reason="the tape robot is down"),
    f.CredentialEnds(at=NOON, ends=NOON, reason="no command renews it"),
    f.LookEnded(at=NOON, code=5, words="Rucio is away"),
    f.RunEnded(at=NOON, code=0, words="cycle 1: 2 files GONE", seconds=4.2),
]


def test_every_kind_of_fact_has_words() -> None:
    facts = [found(FILE), *life(FILE), *rule_facts(), *OTHERS]
    assert {type(fact).__name__ for fact in facts} == set(KINDS), "a new kind needs an example here"
    words = {type(fact).__name__: told(fact) for fact in facts}
    assert len(set(words.values())) == len(words)
    assert all("\n" not in line and "object at" not in line for line in words.values())
    assert told(COUNTED) == "counted: 2 files in the catalogue, unknown on the storage"
    assert {subject(fact) for fact in facts if isinstance(fact, f.FileFact)} == {
        str(FILE),
        str(BROKEN),
    }
    assert subject(rule_facts()[4]) == "rule r1"
    assert subject(OTHERS[0]) == ""


def test_long_lines_are_broken_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "  what       " + "word " * 20
    assert fitted([line]) == [line]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    broken = fitted([line, ""])
    assert all(len(part) <= 60 for part in broken)
    assert broken[1].startswith(" " * 13 + "word")
    assert broken[-1] == ""


def test_nearest_names_of_many(campaign: Path) -> None:
    with ledger_at(campaign.parent) as ledger:
        ledger.record([found(DID("magic", f"run{number:05}.root")) for number in range(1000)])
    told_ = refused("files", "show", campaign, "run00500x.root")
    assert "the nearest names: run00500.root, " in told_


def test_an_output_folder_takes_its_ledger_along(campaign: Path, tmp_path: Path) -> None:
    campaign.write_text(CAMPAIGN + "ledger: elsewhere/own.db\n")
    assert relocated(campaign, tmp_path / "o").ledger_place == tmp_path / "o" / "own.db"
    campaign.write_text(CAMPAIGN + "ledger: postgresql://host/name\n")
    assert relocated(campaign, tmp_path / "o").ledger_place == "postgresql://host/name"


@pytest.mark.parametrize("group", ["files", "ledger"])
def test_groups_explain_themselves(group: str) -> None:
    assert "..." not in run(group, "--help").partition("Commands:")[2]


def test_a_reader_who_goes_away_ends_a_list(campaign: Path) -> None:
    with ledger_at(campaign.parent) as ledger:
        ledger.record([found(DID("magic", f"{number:05}")) for number in range(3000)])
    command = [sys.executable, "-m", "rucio_inject", "files", "list", str(campaign)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.readline()
        listing.stdout.close()
        assert listing.stderr.read() == b""
    assert listing.returncode == 141
