"""A dry run against a real lake: it says what the run then does, and changes nothing at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine, select
from tests.lake.campaigns import RULES, SCOPE, Bench, campaign
from tests.lake.test_trouble import NAME, inbox

from rucio_inject.lake import postgres
from rucio_inject.lake.embedded import EmbeddedLake

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

Official = Callable[[str], Any]
NAMES = Path(__file__).parents[1] / "data" / "magic_paths_sample.txt"
# Who signs in gets a token, and daemons tell that they live.
RESTLESS = {"tokens", "heartbeats"}
QUIET = 600.0


def rows(lake: EmbeddedLake) -> dict[str, list[str]]:
    """Every row of every table of Rucio's."""
    engine = create_engine(postgres.url(lake.paths.postgres_socket))
    tables = MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        found = {
            table.name: sorted(map(str, connection.execute(select(table))))
            for table in tables.sorted_tables
            if table.name not in RESTLESS
        }
    engine.dispose()
    return found


def tree(*folders: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of change of all files below some folders."""
    return {
        str(path): (stat.st_size, stat.st_mtime_ns)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        for stat in (path.lstat(),)
    }


def at_rest(lake: EmbeddedLake) -> dict[str, list[str]]:
    """The rows, once the daemons have nothing left to do: counters follow late."""
    before, end = rows(lake), time.monotonic() + QUIET
    while True:
        time.sleep(2)
        now = rows(lake)
        if now == before:
            return now
        assert time.monotonic() < end, "the lake does not come to rest"
        before = now


def foreseen(bench: Bench, keys: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Exit code and plan of a dry run, after which all is as it was, in the lake and on disk."""
    bench.write(keys)
    storages = bench.lake.paths.storage
    before, files = at_rest(bench.lake), tree(bench.folder, storages)
    ran = bench.run(keys, "--dry-run")
    assert {name: held for name, held in rows(bench.lake).items() if held != before[name]} == {}
    changed = tree(bench.folder, storages).items() ^ files.items()
    # The test's own campaign file is written anew.
    assert {path for path, _ in changed} <= {str(bench.folder / f"{keys['campaign']}.yaml")}
    assert ran.err == ""
    return ran.code, ran.end


def test_a_dry_run_tells_what_the_run_does(bench: Bench, official_client: Official) -> None:
    source = inbox(bench, "07040001", b"a first one", b"a second one")
    keys = campaign("foreseen", 1, source=source, end=None)
    code, plan = foreseen(bench, keys)
    assert (code, plan["files"]["new"]) == (0, {"files": 2, "bytes": 23})
    assert plan["upload"] == {"files": 2, "bytes": 23}
    assert plan["rse_expressions"]["QOS=FAST"] == ["LAPP-FAST"]
    assert plan["transfers"] == {rule: {"files": 2, "bytes": 23} for rule in RULES}
    assert not bench.output("foreseen").exists()

    ran = bench.run(keys)
    assert ran.code == 0
    client = official_client("magic")
    rules = list(client.list_did_rules(SCOPE, "07040001"))
    assert len(rules) == plan["calls"]["ask for rules"]

    # One more, and one whose name somebody has used for other content.
    inbox(bench, "07040001", b"a first one", b"a second one", b"a third one", b"a fourth")
    theirs = {"scope": SCOPE, "name": NAME.format("07040001", 4), "bytes": 3, "adler32": "0" * 8}
    client.add_replicas("PIC-DCACHE", [theirs])
    root = official_client("root")
    root.set_rse_usage("PIC-INJECT", "storage", 10, 5)
    try:
        code, plan = foreseen(bench, keys)
    finally:
        root.set_rse_usage("PIC-INJECT", "storage", 10, 10**12)
    assert code == 3
    files = {fate: held["files"] for fate, held in plan["files"].items() if held["files"]}
    assert files == {"new": 1, "set aside": 1, "done": 2}
    assert "size" in plan["set_aside"]["first"][0]["reason"]
    assert plan["room"]["PIC-INJECT"]["free"] == 5
    assert plan["no_room"] == ["PIC-INJECT has 5 B free, and 11 B would go there"]
    # Rucio holds no account that is an administrator to a limit.
    assert plan["room"]["LAPP-FAST"]["quota"] is None
    assert (plan["rules"]["would_be_made"], plan["datasets"]["there"]) == (0, 1)


def test_a_long_list_takes_few_questions(bench: Bench) -> None:
    source = {"kind": "listing", "path": str(NAMES), "payload": {"kind": "raw", "size": "1MB"}}
    code, plan = foreseen(bench, campaign("long-list", 1, source=source))
    assert (code, plan["upload"]) == (0, {"files": 1500, "bytes": 1_500_000_000})
    assert sum(plan["asked"].values()) <= 20


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"upload": {"rse": "PIC-NOWHERE"}}, 2, "upload.rse: "),
        ({"account": "root"}, 6, "Rucio takes us for account magic, not for root"),
        ({"source": {"kind": "listing", "path": "missing.txt"}}, 2, "cannot read the listing"),
    ],
)
def test_what_refuses_a_run_refuses_a_dry_one(
    bench: Bench, changes: dict[str, Any], code: int, says: str
) -> None:
    ran = bench.run(campaign("misfit", 1, **changes), "--dry-run")
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
