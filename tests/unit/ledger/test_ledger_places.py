"""Where ledgers, exports and seeds may be: empty databases, lost disks, pipes and other files."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.ledger_databases import Location, Server, location

from rucio_inject.cli.ledger_look import relocated
from rucio_inject.cli.main import cli
from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, LedgerError, UsageError
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ledger import fact_json, queries
from rucio_inject.ledger.look import Look, looking
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.ledger import FILE, NOON, SIBLING, begun, found, life
from rucio_inject.testing.contracts.world import measured

__all__ = ["location"]

CAMPAIGN = """\
campaign: magic
scope: magic
source: {kind: directory, path: inbox}
upload: {rse: PIC-DCACHE}
rules: [{rse_expression: QOS=FAST}]
"""
NAME = "20201026_M1_36973941.005_D_1ES1959_650-W0.40_000.root"
CONTENT = b"what the telescope saw"


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


def campaign_at(folder: Path, location: Location | None = None, name: str = "magic") -> Path:
    """A campaign file whose output folder is where it lies."""
    path = folder / f"{name}.yaml"
    text = CAMPAIGN.replace("campaign: magic", f"campaign: {name}") + f"output: {folder}\n"
    path.write_text(text + (f"ledger: {location}\n" if location else ""))
    return path


def seed_at(folder: Path, **local: object) -> Path:
    """A seed ledger of one file, whose source is there."""
    source = folder / "inbox" / NAME
    source.parent.mkdir(exist_ok=True)
    if not source.exists():
        source.write_bytes(CONTENT)
    known = {
        "registered": "2020-06-23T08:43:49Z",
        "checksum": measured(CONTENT).md5,
        "path": str(source),
        **local,
    }
    path = folder / "seed.json"
    path.write_text(json.dumps({NAME: {"Scope": "magic", "Replicated": {"Local": known}}}))
    return path


def look_into(campaign: Path) -> AbstractContextManager[Look]:
    known = relocated(campaign, None)
    return looking(known.ledger_place, known.campaign, SystemClock())


def imported(campaign: Path) -> FileRecord:
    """The record of the seed's file."""
    with look_into(campaign) as look:
        record = look.ledger.file(DID("magic", NAME))
    assert record is not None
    return record


class TestImportBegins:
    """An import may be what begins a campaign."""

    def test_in_an_empty_place(self, location: Location, tmp_path: Path) -> None:
        campaign, seed = campaign_at(tmp_path, location), seed_at(tmp_path)
        assert "1 file would be imported" in run("ledger", "import", campaign, seed, "-n")
        with pytest.raises(LedgerError), look_into(campaign):
            pass
        run("ledger", "import", campaign, seed)
        assert imported(campaign).state is FileState.MEASURED

    def test_beside_another_campaign(self, location: Location, tmp_path: Path) -> None:
        with SqlLedger(location, "lst", clock=SystemClock()) as other:
            other.record([begun(), found(FILE)])
        campaign, seed = campaign_at(tmp_path, location), seed_at(tmp_path)
        assert "1 file would be imported" in run("ledger", "import", campaign, seed, "-n")
        run("ledger", "import", campaign, seed)
        assert imported(campaign).state is FileState.MEASURED

    def test_not_in_a_file_that_is_none(self, tmp_path: Path) -> None:
        campaign, seed = campaign_at(tmp_path), seed_at(tmp_path)
        (tmp_path / "magic.db").write_text("no database, but long enough to be read as one")
        assert "damaged" in error_of("ledger", "import", campaign, seed).message


def test_an_empty_server_is_not_damaged(postgresql_server: Server, tmp_path: Path) -> None:
    campaign = campaign_at(tmp_path, postgresql_server.new_place())
    for command in (["status"], ["files", "list"], ["ledger", "export", "--format", "csv"]):
        answer = invoke(*command, campaign)
        told = f"{answer.stderr}{answer.exception} {getattr(answer.exception, 'hint', '')}"
        assert "holds no ledger yet" in told
        assert "run the campaign first" in told
        assert "restore" not in told


test_an_empty_server_is_not_damaged.pytestmark = [pytest.mark.xdist_group("ledger")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("more", [[], ["-n"]], ids=["import", "dry run"])
def test_a_link_to_a_lost_disk_is_no_new_ledger(tmp_path: Path, more: list[str]) -> None:
    campaign, seed = campaign_at(tmp_path), seed_at(tmp_path)
    link = tmp_path / "magic.db"
    link.symlink_to(tmp_path / "mnt" / "real.db")
    error = error_of("ledger", "import", campaign, seed, *more)
    assert isinstance(error, LedgerError)
    assert "is a link to" in error.message
    assert "mount the disk" in str(error.hint)
    with pytest.raises(LedgerError, match="is a link to"):
        SqlLedger(link, "magic", clock=SystemClock()).__enter__()
    assert link.is_symlink()
    assert not link.exists()


def test_a_link_to_a_ledger_is_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "magic.db").symlink_to(tmp_path / "real.db")
    with SqlLedger(tmp_path / "real.db", "magic", clock=SystemClock()) as ledger:
        ledger.record([begun(), found(FILE)])
    with SqlLedger(tmp_path / "magic.db", "magic", clock=SystemClock()) as ledger:
        assert ledger.file(FILE) is not None


class TestOut:
    """`ledger export --out`."""

    @pytest.fixture
    def filled(self, tmp_path: Path) -> Path:
        """A campaign with a file on record."""
        with SqlLedger(tmp_path / "magic.db", "magic", clock=SystemClock()) as ledger:
            ledger.record([begun(), found(FILE)])
        return campaign_at(tmp_path)

    def export(self, campaign: Path, out: object, *more: object) -> InjectError:
        """What an export is refused with."""
        return error_of("ledger", "export", campaign, "--format", "csv", "--out", out, *more)

    @pytest.mark.parametrize("ending", ["", "-journal", "-wal", "-shm"])
    def test_the_ledger_is_not_overwritten(
        self, filled: Path, ending: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"magic.db{ending}"
        before = (filled.parent / "magic.db").read_bytes()
        (filled.parent / "other").symlink_to(filled.parent)
        monkeypatch.chdir(filled.parent)
        for out in (filled.parent / name, name, filled.parent / "other" / name):
            error = self.export(filled, out)
            assert isinstance(error, UsageError)
            assert "would take the place of the campaign's ledger" in error.message
        assert (filled.parent / "magic.db").read_bytes() == before

    def test_nor_under_another_name(self, filled: Path) -> None:
        os.link(filled.parent / "magic.db", filled.parent / "twin")
        assert "campaign's ledger" in self.export(filled, filled.parent / "twin").message

    def test_nor_is_what_is_no_file(self, filled: Path) -> None:
        pipe, link, folder = (filled.parent / name for name in ("pipe", "link", "folder"))
        os.mkfifo(pipe)
        link.symlink_to(pipe)
        folder.mkdir()
        for out in (pipe, link, folder):
            assert f"{out} is there and is no regular file" in self.export(filled, out).message
        assert pipe.is_fifo()
        assert link.is_symlink()
        assert folder.is_dir()

    def test_a_dash_is_standard_output(self, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(filled.parent)
        before = set(filled.parent.iterdir())
        shown = run("ledger", "export", filled, "--format", "jsonl", "--out", "-")
        assert json.loads(shown)["did"] == str(FILE)
        assert set(filled.parent.iterdir()) == before
        error = error_of("ledger", "export", filled, "--format", "parquet", "--out", "-")
        assert "not for standard output" in error.message

    def test_a_seed_ledger_is_not_the_ledger(self, filled: Path) -> None:
        filled.write_text(filled.read_text() + "seed_ledger: magic.db\n")
        error = error_of("run", filled)
        assert "seed_ledger " in error.message
        assert "would take the place of the campaign's ledger" in error.message


@pytest.mark.parametrize(
    "command", [["files", "list", "--json"], ["ledger", "export", "--format", "jsonl"]]
)
def test_a_cycle_that_is_begun_meanwhile_is_not_mixed_in(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page would ask for the last cycle anew."""
    campaign = campaign_at(tmp_path)
    dids = [DID("magic", f"{number}.root") for number in range(4)]
    writer = SqlLedger(tmp_path / "magic.db", "magic", clock=SystemClock())
    with writer:
        writer.record([begun(), *map(found, dids)])
    read = fact_json.file_from
    monkeypatch.setattr(queries, "PAGE", 2)

    def read_meanwhile(text: str, did: str) -> FileRecord:
        monkeypatch.setattr(queries, "file_from", read)
        with writer:
            writer.record([begun(2), found(SIBLING, 2), found(FILE, 2)])
        return read(text, did)

    monkeypatch.setattr(queries, "file_from", read_meanwhile)
    lines = run(*command, campaign).splitlines()
    assert [json.loads(line)["did"] for line in lines] == [str(did) for did in dids]


class TestSeeds:
    """What a seed may say."""

    @pytest.mark.parametrize(
        ("given", "utc"),
        [
            ("2020-06-23T10:43:49+02:00", "2020-06-23T08:43:49"),
            ("2020-06-23T08:43:49", "2020-06-23T08:43:49"),
            ("2020-06-23T00:43:49-05:30", "2020-06-23T06:13:49"),
            ("0999-06-23T08:43:49Z", "0999-06-23T08:43:49"),
        ],
    )
    def test_times_are_the_same_in_all_shapes(self, tmp_path: Path, given: str, utc: str) -> None:
        campaign = campaign_at(tmp_path)
        run("ledger", "import", campaign, seed_at(tmp_path, registered=given))
        seed = json.loads(run("ledger", "export", campaign, "--format", "seed"))
        assert seed[NAME]["Replicated"]["Local"]["registered"] == f"{utc}Z"
        assert f"{utc}.000000Z" in run("ledger", "export", campaign, "--format", "csv")

    @pytest.mark.parametrize("when", ["9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+10:00"])
    def test_a_time_of_no_year_is_refused(self, tmp_path: Path, when: str) -> None:
        error = error_of(
            "ledger", "import", campaign_at(tmp_path), seed_at(tmp_path, registered=when)
        )
        assert isinstance(error, UsageError)
        assert "Local.registered: " in error.message
        assert "years 1 to 9999" in error.message
        assert not (tmp_path / "magic.db").exists()

    @pytest.mark.parametrize("path", ["/data/\0x", "/data/\ud800"])
    def test_a_path_that_is_none_is_refused(self, tmp_path: Path, path: str) -> None:
        error = error_of("ledger", "import", campaign_at(tmp_path), seed_at(tmp_path, path=path))
        assert isinstance(error, UsageError)
        assert "which no file can be called" in error.message
        assert not (tmp_path / "magic.db").exists()

    def test_a_pipe_is_no_source(self, tmp_path: Path) -> None:
        pipe = tmp_path / "inbox" / NAME
        pipe.parent.mkdir()
        os.mkfifo(pipe)
        campaign = campaign_at(tmp_path)
        run("ledger", "import", campaign, seed_at(tmp_path))
        failure = imported(campaign).failure
        assert failure is not None
        assert failure.code == "source-unreadable"
        assert f"{pipe} is no regular file" in failure.reason

    def test_folders_tell_what_a_run_would_read_of_them(self, tmp_path: Path) -> None:
        name = "dl1_LST-1.Run03143.0003.h5"
        source = tmp_path / "inbox" / "20201026" / name
        source.parent.mkdir(parents=True)
        source.write_bytes(CONTENT)
        seed = seed_at(tmp_path)
        local = {"checksum": measured(CONTENT).md5, "path": str(source)}
        seed.write_text(json.dumps({name: {"Scope": "magic", "Replicated": {"Local": local}}}))
        campaign = campaign_at(tmp_path)
        run("ledger", "import", campaign, seed)
        with look_into(campaign) as look:
            record = look.ledger.file(DID("magic", name))
        assert record is not None
        assert record.metadata["night"] == "2020_10_26"

    def test_the_last_event_is_not_years_ago(self, tmp_path: Path) -> None:
        campaign = campaign_at(tmp_path)
        before = SystemClock().now()
        run("ledger", "import", campaign, seed_at(tmp_path))
        last = json.loads(run("status", campaign, "--json"))["last_event"]
        assert last["kind"] == "CycleBegun"
        assert last["at"] >= before.isoformat()

    def test_nor_in_a_cycle_that_was_open(self, tmp_path: Path) -> None:
        campaign = campaign_at(tmp_path)
        with SqlLedger(tmp_path / "magic.db", "magic", clock=SystemClock()) as ledger:
            ledger.record([begun(), found(FILE), *life(FILE)[:1]])
            ledger.record([f.FileWaits(at=NOON.replace(year=2027), did=FILE, rse="A", reason="x")])
        run("ledger", "import", campaign, seed_at(tmp_path))
        last = json.loads(run("status", campaign, "--json"))["last_event"]
        assert (last["kind"], last["subject"]) == ("FileWaits", str(FILE))
