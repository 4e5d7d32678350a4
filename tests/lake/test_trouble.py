"""What goes wrong, on a real lake: each with a clear message and an exit code, and nothing lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.lake.campaigns import PATIENCE, SCOPE, Bench, campaign

from rucio_inject.clock import SystemClock
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.world import measured

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

Official = Callable[[str], Any]
NAME = "20200203_M1_{}.00{}_D_Perseus-MA-W0.26-288.root"


def inbox(bench: Bench, run: str, *contents: bytes) -> dict[str, Any]:
    """A folder with a file of a run for each content, as the source of a campaign."""
    folder = bench.folder / "inbox"
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(contents, 1):
        (folder / NAME.format(run, number)).write_bytes(content)
    return {"kind": "directory", "path": str(folder)}


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"upload": {"rse": "PIC-NOWHERE"}}, 2, "upload.rse: "),
        ({"rules": [{"rse_expression": "QOS=SLOW"}]}, 2, "matches no RSE"),
        ({"rules": [{"rse_expression": "((("}]}, 2, "rules.0.rse_expression"),
        ({"rules": [{"rse_expression": "QOS=FAST", "copies": 2}]}, 2, "2 copies asked for"),
        ({"rse_attributes": {"PIC-NOWHERE": {"a": 1}}}, 2, "rse_attributes.PIC-NOWHERE"),
        ({"account": "root"}, 6, "Rucio takes us for account magic, not for root"),
        ({"source": {"kind": "directory", "path": "/does/not/exist"}}, 2, "cannot look into"),
        ({"source": {"kind": "listing", "path": "missing.txt"}}, 2, "cannot read the listing"),
    ],
)
def test_a_campaign_that_does_not_fit_the_lake(
    bench: Bench, changes: dict[str, Any], code: int, says: str
) -> None:
    ran = bench.run(campaign("misfit", 1, **changes))
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_an_empty_folder(bench: Bench) -> None:
    (bench.folder / "inbox").mkdir()
    ran = bench.run(campaign("empty", 1, source={"kind": "directory", "path": "inbox"}))
    assert ran.code == 2
    assert "no file in" in ran.err


def test_a_scope_of_another_account(bench: Bench, official_client: Official) -> None:
    root = official_client("root")
    with contextlib.suppress(Exception):
        root.add_scope("root", "OTHERS_SCOPE")
    ran = bench.run(campaign("foreign", 1, scope="OTHERS_SCOPE"))
    assert ran.code == 1
    assert "scope OTHERS_SCOPE belongs to account root, not to magic" in ran.err


def test_one_bad_file_does_not_hold_up_the_others(bench: Bench) -> None:
    source = inbox(bench, "05089001", b"good", b"also good")
    folder = Path(source["path"])
    os.mkfifo(folder / NAME.format("05089001", 3))
    (folder / "notes.txt").write_text("no name of the telescope")
    ran = bench.run(campaign("mixed", 0, source=source))
    assert ran.code == 3
    assert ran.end["files"] == {"GONE": 2, "QUARANTINED": 1}
    assert ran.end["skipped"] == 1
    (failure,) = ran.end["failures"]
    assert failure["code"] == "source-unreadable"
    assert failure["hint"]
    assert "notes.txt" in ran.end["skip_reasons"][0]

    (folder / NAME.format("05089001", 3)).unlink()
    (folder / NAME.format("05089001", 3)).write_bytes(b"mended")
    (folder / "notes.txt").unlink()
    assert bench.run(campaign("mixed", 0, source=source)).end["files"] == {"GONE": 3}


def test_content_that_is_there_already_is_done_and_other_content_is_refused(
    bench: Bench, official_client: Official
) -> None:
    source = inbox(bench, "05089002", b"the same bytes", b"bytes of ours")
    theirs = [b"the same bytes", b"bytes of theirs"]
    client = official_client("magic")
    folder = bench.lake.paths.storage / "PIC-INJECT"
    files = []
    for number, content in enumerate(theirs, 1):
        name = NAME.format("05089002", number)
        md5 = hashlib.md5(f"{SCOPE}:{name}".encode()).hexdigest()
        path = folder / SCOPE / md5[:2] / md5[2:4] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files.append(
            {
                "scope": SCOPE,
                "name": name,
                "bytes": len(content),
                "adler32": f"{zlib.adler32(content):08x}",
                "md5": hashlib.md5(content).hexdigest(),
            }
        )
    client.add_replicas("PIC-INJECT", files)

    ran = bench.run(campaign("known", 0, source=source, end=None))
    assert ran.code == 3
    assert ran.end["files"] == {"QUARANTINED": 1, "VERIFIED": 1}
    (failure,) = ran.end["failures"]
    assert failure["code"] == "conflict"
    assert "with other content" in failure["reason"]
    (untouched,) = client.list_replicas([{"scope": SCOPE, "name": NAME.format("05089002", 2)}])
    assert untouched["md5"] == hashlib.md5(b"bytes of theirs").hexdigest()
    stored = list(folder.rglob(NAME.format("05089002", 2)))
    assert [p.read_bytes() for p in stored] == [b"bytes of theirs"]
    adopted = {record.did.name: record.adopted for record in bench.records("known")}
    assert adopted == {NAME.format("05089002", 1): True, NAME.format("05089002", 2): False}


def test_a_stuck_rule_is_told_with_its_reason_and_heals(
    bench: Bench, official_client: Official
) -> None:
    root = official_client("root")
    # No transfer service there: submission fails, and the rule is STUCK soon.
    good = root.list_rse_attributes("LAPP-FAST")["fts"]
    root.add_rse_attribute("LAPP-FAST", "fts", "http://127.0.0.1:9")
    keys = campaign("stuck", 12, replication={"deadline": "15s"})
    try:
        ran = bench.run_until_stuck(keys)
    finally:
        root.add_rse_attribute("LAPP-FAST", "fts", good)
    assert ran.code == 7, ran.err
    assert {rule["state"] for rule in ran.end["rules_not_ok"]} == {"STUCK"}
    assert all("LAPP-FAST" in why for why in ran.end["waiting"].values())
    assert "is not at LAPP-FAST: " in ran.err

    for rule in ran.end["rules_not_ok"]:
        root.update_replication_rule(rule["id"], {"boost_rule": True})
    healed = bench.run({**keys, "replication": {"deadline": "600s"}})
    assert (healed.code, healed.end["files"]) == (0, {"GONE": 2}), healed.err


def test_a_source_that_changes_before_it_could_be_read_is_taken_as_it_is(
    bench: Bench, official_client: Official
) -> None:
    source = inbox(bench, "05089003", b"first content")
    keys = campaign("changed", 0, source=source, retry={"attempts": 1})
    storage = bench.lake.paths.storage / "PIC-INJECT"
    away = storage.rename(storage.with_name("PIC-INJECT.away"))
    try:
        first = bench.run(keys)
    finally:
        away.rename(storage)
    assert (first.code, first.end["failures"][0]["code"]) == (3, "storage-unavailable"), first.err
    (Path(source["path"]) / NAME.format("05089003", 1)).write_bytes(b"other content")
    ran = bench.run(keys)
    assert ran.code == 0, ran.err
    # It is measured while it is copied, so what is on record is what arrived.
    (record,) = bench.records(keys["campaign"])
    assert record.measure == measured(b"other content")


def test_two_runs_of_one_campaign_never_meet(bench: Bench) -> None:
    keys = campaign("twice", 1)
    place = bench.output("twice") / "twice.db"
    with SqlLedger(place, "twice", clock=SystemClock()):
        ran = bench.run(keys)
    assert ran.code == 5
    assert f"in use by process {os.getpid()} on {socket.gethostname()}" in ran.err
    assert bench.run(keys).code == 0


def test_the_second_run_may_wait_for_the_first(bench: Bench) -> None:
    keys = campaign("waits", 2)
    arguments = bench.arguments(keys, "--json", "--wait", "10m")
    both = [
        subprocess.Popen(
            arguments,
            env=bench.environment(),
            cwd=bench.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(2)
    ]
    ends = [json.loads(process.communicate(timeout=2 * PATIENCE)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(end["changed"] for end in ends) == [False, True]
    assert [end["files"] for end in ends] == [{"GONE": 2}] * 2
