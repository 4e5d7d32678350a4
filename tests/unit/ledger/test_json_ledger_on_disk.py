"""The JSON ledger's files: damage, locks, power cuts and full disks."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger import json_ledger
from rucio_inject.ledger.json_ledger import JsonLedger, state_path
from rucio_inject.ledger.seed_json import seed_ledger
from rucio_inject.testing.contracts.ledger import (
    FILE,
    MEASURE,
    SIBLING,
    begun,
    found,
    life,
    rule_facts,
)
from rucio_inject.whole_files import write_durably


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with one file in it."""
    path = tmp_path / "magic.json"
    with JsonLedger(path, "magic") as ledger:
        ledger.record([begun(), found(FILE), *life(FILE)[:1]])
    return path


def refused(path: Path, campaign: str = "magic") -> LedgerError:
    """Why a ledger cannot be opened; its files are as they were."""
    before = {file: file.read_bytes() for file in path.parent.glob("*.json")}
    with pytest.raises(LedgerError) as caught, JsonLedger(path, campaign):
        pass
    assert {file: file.read_bytes() for file in path.parent.glob("*.json")} == before
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "damage", [b"", b"null", b"{", b"[]", b"\xff\xfe", b'{"schema": 1', b"7", b'"text"']
)
def test_a_damaged_file_is_refused_and_kept(path: Path, damage: bytes) -> None:
    state_path(path).write_bytes(damage)
    assert state_path(path).name in refused(path).message


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("files", str(FILE), "state"), "LOST"),
        (("files", str(FILE), "measure", "md5"), "zz"),
        (("files", str(FILE), "did"), None),
        (("cycle",), "first"),
        (("files",), 3),
    ],
)
def test_damage_inside_is_named(path: Path, where: tuple[str, ...], value: object) -> None:
    content = json.loads(state_path(path).read_bytes())
    inner = content
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    state_path(path).write_text(json.dumps(content))
    assert where[0] in refused(path).message


def test_a_rule_without_its_cycle_is_damage(path: Path) -> None:
    with JsonLedger(path, "magic") as ledger:
        ledger.record(rule_facts()[:2])
    content = json.loads(state_path(path).read_bytes())
    for rule in content["rules"].values():
        del rule["cycle"]
    state_path(path).write_text(json.dumps(content))
    with pytest.raises(LedgerError), JsonLedger(path, "magic") as ledger:
        ledger.rules()


@pytest.mark.parametrize("schema", [0, 2, None, "1"])
def test_another_schema_is_refused(path: Path, schema: object) -> None:
    content = json.loads(state_path(path).read_bytes())
    content["schema"] = schema
    state_path(path).write_text(json.dumps(content))
    assert f"schema {schema!r}" in refused(path).message


def test_another_campaign_is_refused(path: Path) -> None:
    assert "campaign magic, not of cta" in refused(path, "cta").message


def test_the_seed_s_file_alone_is_refused(path: Path) -> None:
    state_path(path).unlink()
    assert "magic.state.json" in refused(path).message


def test_the_state_file_alone_is_enough(path: Path) -> None:
    path.unlink()
    with JsonLedger(path, "magic") as ledger:
        assert ledger.file(FILE) is not None
        ledger.record([found(SIBLING)])
    assert set(json.loads(path.read_bytes())) == {FILE.name}


def test_what_a_power_cut_left_is_swept_away(path: Path) -> None:
    left = [file.with_name(f".{file.name}.part") for file in (path, state_path(path))]
    for partial in left:
        partial.write_bytes(b'{"half')
    with JsonLedger(path, "magic") as ledger:
        assert ledger.file(FILE) is not None
    assert not any(partial.exists() for partial in left)


def test_a_cut_between_the_two_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PowerCut(BaseException):
        pass

    def once(file: Path, content: bytes) -> None:
        if file == path:
            raise PowerCut
        write_durably(file, content)

    before = path.read_bytes()
    with JsonLedger(path, "magic") as ledger:
        monkeypatch.setattr(json_ledger, "write_durably", once)
        with pytest.raises(PowerCut):
            ledger.record([found(SIBLING)])
    monkeypatch.undo()
    assert path.read_bytes() == before
    with JsonLedger(path, "magic") as ledger:
        assert ledger.file(SIBLING) is not None
        ledger.record(life(SIBLING)[:1])
    assert set(json.loads(path.read_bytes())) == {FILE.name, SIBLING.name}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    with JsonLedger(path, "magic") as ledger:
        held = {f.name: f.read_bytes() for f in path.parent.iterdir() if f.name in before}
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(LedgerError, match=os.strerror(code)):
            ledger.record([found(SIBLING)])
        monkeypatch.undo()
        assert ledger.file(SIBLING) is None
        after = {f.name: f.read_bytes() for f in path.parent.iterdir()}
        assert after == held
        ledger.record([found(SIBLING)])
    with JsonLedger(path, "magic") as ledger:
        assert ledger.file(SIBLING) is not None


def test_a_disk_that_is_really_full(path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from rucio_inject.domain.errors import LedgerError\n"
        "from rucio_inject.ledger.json_ledger import JsonLedger\n"
        "from rucio_inject.testing.contracts.ledger import SIBLING, found\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with JsonLedger(Path(sys.argv[1]), 'magic') as ledger:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "    try:\n"
        "        ledger.record([found(SIBLING)])\n"
        "    except LedgerError as error:\n"
        "        print(error.message)\n"
    )
    before = {file: file.read_bytes() for file in (path, state_path(path))}
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert f"cannot write ledger {path}" in ran.stdout
    assert {file: file.read_bytes() for file in before} == before


def test_another_process_holds_it(path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from rucio_inject.ledger.json_ledger import JsonLedger\n"
        "with JsonLedger(Path(sys.argv[1]), 'magic'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert f"in use by process {holder.pid} on " in refused(path).message
        holder.kill()
    with JsonLedger(path, "magic") as ledger:
        assert ledger.file(FILE) is not None


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(LedgerError, match="cannot write a ledger") as caught,
        JsonLedger(tmp_path / "file" / "magic.json", "magic"),
    ):
        pass
    assert "--output" in str(caught.value.hint)


def test_a_damaged_ledger_gives_its_lock_back(path: Path) -> None:
    good = state_path(path).read_bytes()
    state_path(path).write_bytes(b"{")
    refused(path)
    state_path(path).write_bytes(good)
    with JsonLedger(path, "magic") as ledger:
        assert ledger.file(FILE) is not None


def test_nothing_new_is_not_written(path: Path) -> None:
    stamps = [file.stat().st_mtime_ns for file in (path, state_path(path))]
    with JsonLedger(path, "magic") as ledger:
        ledger.record([])
        ledger.record([life(FILE)[0]])
    assert [file.stat().st_mtime_ns for file in (path, state_path(path))] == stamps


def test_others_may_not_read_it(path: Path) -> None:
    assert stat.S_IMODE(state_path(path).stat().st_mode) == 0o600


def test_the_seed_s_shape() -> None:
    from rucio_inject.domain.facts import FileFact
    from rucio_inject.domain.story import advance, begin_file, begin_rule

    record = begin_file(found(FILE))
    assert seed_ledger([record], []) == {}, "a file that was not measured is not in it"
    for fact in life(FILE)[:9]:
        assert isinstance(fact, FileFact)
        record = advance(record, fact)
    asked = rule_facts()[1]
    rule = begin_rule(asked, 1)  # type: ignore[arg-type]
    assert seed_ledger([record], [rule]) == {
        "a.root": {
            "Scope": "magic",
            "Replicated": {
                "Local": {
                    "registered": "2026-03-01T12:00:01Z",
                    "checksum": MEASURE.md5,
                    "path": "/data/a.root",
                },
                "QOS=FAST": {"registered": "2026-03-01T12:00:00Z"},
                "A": {
                    "registered": "2026-03-01T12:00:01Z",
                    "downloaded": "2026-03-01T12:00:01Z",
                    "checksum": MEASURE.md5,
                },
            },
        }
    }


class TestWriteDurably:
    """There whole or not at all."""

    def test_it_replaces(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        for content in (b"a longer first content", b"second"):
            write_durably(path, content)
            assert path.read_bytes() == content
        assert [file.name for file in tmp_path.iterdir()] == ["x"]

    def test_a_failure_leaves_the_old_and_no_litter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"old")

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="full"):
            write_durably(path, b"new")
        assert path.read_bytes() == b"old"
        assert [file.name for file in tmp_path.iterdir()] == ["x"]
