"""Real data from an origin, on a real lake; what came of it is asked of the official client."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.lake.campaigns import (
    ORIGIN,
    PATIENCE,
    SCOPE,
    Bench,
    Ran,
    campaign,
    make_origin,
    wait_until,
)

from rucio_inject.domain.errors import LedgerError
from rucio_inject.lake.embedded import EmbeddedLake

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

Official = Callable[[str], Any]
RULES = [{"rse_expression": "PIC-DCACHE"}, {"rse_expression": "QOS=FAST"}]


def name(run: int, subrun: int) -> str:
    return f"20210507_M1_0507{run:04d}.{subrun:03d}_Y_CrabNebula-W0.40_035.root"


def arrive(folder: Path, name: str, content: bytes, digest: str | None = None) -> Path:
    """A file arrives with its checksum."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    (folder / f"{name}.md5").write_text(digest or hashlib.md5(content).hexdigest())
    return path


@pytest.fixture
def origin(running_lake: EmbeddedLake, official_client: Official) -> Path:
    """The folder of an RSE that is not deterministic."""
    folder = running_lake.paths.storage / ORIGIN
    make_origin(official_client("root"), folder)
    return folder


def test_files_are_registered_where_they_are(
    bench: Bench, origin: Path, official_client: Official
) -> None:
    contents = {name(1, n): f"events {n}".encode() for n in range(1, 4)}
    folder = origin / "raw" / "2021_05_07"
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)
        os.utime(folder / file, (1.6e9, 1.6e9))
    before = sorted(origin.rglob("*"))
    keys = campaign(
        "atorigin",
        1,
        source={"kind": "rse", "folder": "raw"},
        upload={"rse": ORIGIN},
        rules=RULES,
        naming={"closing": {"quiet": "1s"}},
        end=None,
    )
    ran = bench.run(keys)
    assert ran.code == 0, ran.err
    assert ran.end["files"] == {"VERIFIED": 3}
    client = official_client("magic")
    for replica in client.list_replicas([{"scope": SCOPE, "name": n} for n in contents]):
        (pfn,) = replica["rses"][ORIGIN]
        assert pfn == f"file://localhost{folder}/{replica['name']}"
        assert set(replica["rses"]) == {ORIGIN, "PIC-DCACHE", "LAPP-FAST"}
        assert replica["bytes"] == len(contents[replica["name"]])
        for rse in ("PIC-DCACHE", "LAPP-FAST"):
            (there,) = replica["rses"][rse]
            path = Path(there.removeprefix("file://localhost"))
            assert path.read_bytes() == contents[replica["name"]]
    assert sorted(origin.rglob("*")) == before
    time.sleep(1.1)
    again = bench.run(keys)
    assert again.code == 0, again.err
    assert client.get_did(SCOPE, "05070001")["open"] is False


def test_an_origin_is_freed_by_its_rules_when_all_is_proved(
    bench: Bench, origin: Path, official_client: Official
) -> None:
    folder = origin / "freed"
    folder.mkdir()
    contents = {name(run, n): f"events {run} {n}".encode() for run in (6, 7) for n in (1, 2)}
    for file, content in contents.items():
        (folder / file).write_bytes(content)
        os.utime(folder / file, (1.6e9, 1.6e9))
    root, client = official_client("root"), official_client("magic")
    keys = campaign(
        "freedorigin",
        1,
        source={"kind": "rse", "folder": "freed", "free": True, "lifetime": 1},
        upload={"rse": ORIGIN},
        rules=RULES,
        naming={"closing": {"quiet": "1s"}},
        end=None,
    )
    kept = bench.run({**keys, "source": {"kind": "rse", "folder": "freed"}})
    assert kept.code == 0, kept.err
    # Somebody else has a rule on a file of the second run.
    held = {"scope": SCOPE, "name": name(7, 1)}
    root.set_local_account_limit("root", ORIGIN, -1)
    (theirs,) = root.add_replication_rule([held], 1, ORIGIN)
    asked = bench.run(keys)
    assert asked.code == 3, asked.err
    assert list(asked.end["staying"]) == [f"{SCOPE}:05070007"]
    assert f"rule {theirs} of account root" in asked.end["staying"][f"{SCOPE}:05070007"]
    assert list(asked.end["leaving"]) == [f"{SCOPE}:05070006"]
    wait_until(lambda: not (folder / name(6, 1)).exists() and not (folder / name(6, 2)).exists())
    run = until_freed(bench, keys, 2)
    assert run.end["freed"] == {"files": 2, "bytes": 20, "folder": None, "rse": ORIGIN}
    # A rule that is deleted lives on for an hour.
    root.update_replication_rule(theirs, {"lifetime": 0})
    wait_until(lambda: not list(root.list_replica_locks(theirs)))
    bench.run(keys)
    wait_until(lambda: not list(folder.iterdir()))
    run = until_freed(bench, keys, 4)
    assert (run.code, run.end["staying"], run.end["leaving"]) == (0, {}, {})
    for replica in client.list_replicas([{"scope": SCOPE, "name": n} for n in contents]):
        assert set(replica["rses"]) == {"PIC-DCACHE", "LAPP-FAST"}
        for (there,) in replica["rses"].values():
            path = Path(there.removeprefix("file://localhost"))
            assert path.read_bytes() == contents[replica["name"]]
    again = bench.run(keys)
    assert (again.code, again.end["changed"]) == (0, False)


def until_freed(bench: Bench, keys: dict[str, Any], files: int) -> Ran:
    """The run that finds so many files freed: the catalogue forgets them after the storage."""
    end = time.monotonic() + PATIENCE
    while (ran := bench.run(keys)).end["freed"]["files"] != files:
        assert time.monotonic() < end, ran.out
        time.sleep(1)
    return ran


def test_an_inbox_is_proved_by_a_sample_closed_and_freed(
    bench: Bench, official_client: Official
) -> None:

    from rucio.common.exception import DataIdentifierNotFound

    inbox = bench.folder / "origin"
    for n in range(1, 7):
        arrive(inbox, name(2, n), f"events {n}".encode() * 100)
    arrive(inbox, name(3, 1), b"cut off on its w", digest="0" * 32)
    (inbox / name(3, 2)).write_bytes(b"still being writt")
    keys = campaign(
        "inbox",
        1,
        source={
            "kind": "inbox",
            "path": str(inbox),
            "complete": {"stable": None},
            "free": True,
            "watermark": {"high": 0.6, "low": 0.3, "capacity": "5kB"},
        },
        rules=RULES,
        access={"sample": 2},
        naming={"closing": {"next_run": True, "late": "{run}.late"}},
        end=None,
    )
    ran = bench.run(keys)
    assert ran.code == 4, ran.err
    assert ran.end["files"] == {"QUARANTINED": 1, "VERIFIED": 6}
    assert ran.end["sampled"]["files"] == 4
    assert [name(3, 2) in why for why in ran.end["not_yet"]] == [True]
    # 5.1 kB of 5 kB were used; the oldest files went, until less than 1.5 kB were.
    freed = [n for n in range(1, 7) if not (inbox / name(2, n)).exists()]
    assert freed == [1, 2, 3, 4, 5]
    assert ran.end["freed"]["files"] == 5
    assert ran.end["origin"]["used_share"] <= 0.3
    client = official_client("magic")
    assert client.get_did(SCOPE, "05070002")["open"] is False
    with pytest.raises(DataIdentifierNotFound):
        client.get_did(SCOPE, name(3, 1))

    arrive(inbox, name(3, 1), b"sent again, and whole")
    arrive(inbox, name(2, 9), b"late")
    again = bench.run(keys)
    assert again.code == 0, again.err
    assert again.end["files"] == {"VERIFIED": 8}
    held = {row["name"] for row in client.list_content(SCOPE, "05070002.late")}
    assert held == {name(2, 9)}


def test_a_watch_takes_files_until_it_is_stopped(bench: Bench) -> None:
    inbox = bench.folder / "watched"
    arrive(inbox, name(4, 1), b"first")
    keys = campaign(
        "watched",
        1,
        source={"kind": "inbox", "path": str(inbox), "every": 1},
        rules=RULES[:1],
        end=None,
    )
    command = bench.arguments(keys, "--watch", "--json")
    process = subprocess.Popen(
        command, env=bench.environment(), cwd=bench.folder, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: states(bench) == ["VERIFIED"])
        arrive(inbox, name(4, 2), b"second")
        wait_until(lambda: states(bench) == ["VERIFIED", "VERIFIED"])
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode in {0, 130}
    assert '"VERIFIED": 2' in out or process.returncode == 130


def states(bench: Bench) -> list[str]:
    """States of the files on record, while a run goes on."""
    if not (bench.output("watched") / "watched.db").exists():
        return []
    try:
        return [str(record.state) for record in bench.records("watched")]
    except LedgerError:
        # It is only just being made.
        return []
