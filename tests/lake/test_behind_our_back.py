"""What others do to the lake between two runs, on a real one: told, mended where it can be, and
nothing of theirs, nor a last copy, given up."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rucio.common.exception import DataIdentifierNotFound
from tests.lake.campaigns import END, HOLDERS, SCOPE, Bench, campaign, wait_until

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

Official = Callable[[str], Any]
NAME = "20200204_M1_{}.00{}_D_Perseus-MA-W0.26-288.root"


@contextmanager
def without_transfers_to(root: Any, rse: str) -> Iterator[None]:
    """No transfer service for an RSE: what is to go there is STUCK soon."""
    good = root.list_rse_attributes(rse)["fts"]
    root.add_rse_attribute(rse, "fts", "http://127.0.0.1:9")
    try:
        yield
    finally:
        root.add_rse_attribute(rse, "fts", good)


def inbox(bench: Bench, run: str, count: int) -> dict[str, Any]:
    """A folder with files of a run, as the source of a campaign."""
    folder = bench.folder / "inbox"
    folder.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        (folder / NAME.format(run, number)).write_bytes(f"events {run} {number}".encode())
    return {"kind": "directory", "path": str(folder)}


def stored(bench: Bench, rse: str, name: str) -> Path:
    """Where the storage of an RSE keeps a file."""
    (path,) = (bench.lake.paths.storage / rse).rglob(name)
    return path


def boost(root: Any, rules: list[dict[str, Any]]) -> None:
    """Have the judge try stuck rules again at once."""
    for rule in rules:
        root.update_replication_rule(rule["id"], {"boost_rule": True})


def test_a_bad_replica_is_told_and_made_anew(bench: Bench, official_client: Official) -> None:
    root = official_client("root")
    run = "05089101"
    keys = campaign("bad", 0, source=inbox(bench, run, 2), replication={"deadline": "12s"}, end=END)
    with without_transfers_to(root, "LAPP-FAST"):
        stuck = bench.run_until_stuck(keys)
    assert stuck.code == 7, stuck.err
    name = NAME.format(run, 1)
    victim = stored(bench, "PIC-DCACHE", name)
    victim.write_bytes(bytes(byte ^ 1 for byte in victim.read_bytes()))
    boost(root, stuck.end["rules_not_ok"])
    keys["replication"] = {"deadline": "600s"}

    told = bench.run(keys)
    assert (told.code, told.end["files"]) == (4, {"QUARANTINED": 1, "VERIFIED": 1}), told.err
    assert "PIC-DCACHE" in told.end["failures"][0]["reason"]
    assert list(told.end["kept"].values()) == ["1 of its 2 files are not verified"]

    (row,) = root.list_replicas([{"scope": SCOPE, "name": name}], rse_expression="PIC-DCACHE")
    root.declare_bad_file_replicas([row["rses"]["PIC-DCACHE"][0]], "checksum")
    healed = bench.run(keys)
    assert (healed.code, healed.end["files"]) == (0, {"GONE": 2}), healed.err
    assert healed.end["replicas_read_back"] == 2 * len(HOLDERS)


def test_an_erased_dataset_is_made_again(bench: Bench, official_client: Official) -> None:
    root = official_client("root")
    run = "05089102"
    keys = campaign(
        "erased", 0, source=inbox(bench, run, 2), replication={"deadline": "12s"}, end=END
    )
    with without_transfers_to(root, "LAPP-FAST"):
        assert bench.run_until_stuck(keys).code == 7
    root.set_metadata(SCOPE, run, "lifetime", -1)
    wait_until(lambda: is_gone(root, run))

    again = bench.run({**keys, "replication": {"deadline": "600s"}})
    assert (again.code, again.end["files"]) == (0, {"GONE": 2}), again.err
    assert "not in the catalogue any more" in again.err


def test_rules_of_others_outlive_the_campaign(bench: Bench, official_client: Official) -> None:
    magic = official_client("magic")
    run = "05089103"
    magic.add_dataset(SCOPE, run)
    (theirs,) = magic.add_replication_rule([{"scope": SCOPE, "name": run}], 1, "QOS=FAST")
    ran = bench.run(campaign("guests", 0, source=inbox(bench, run, 1), end=END))
    assert (ran.code, ran.end["files"]) == (3, {"VERIFIED": 1}), ran.err
    assert ran.end["kept"] == {
        f"{SCOPE}:{run}": "it has rules that were there before this campaign"
    }
    rules = magic.list_did_rules(SCOPE, run)
    assert {rule["expires_at"] for rule in rules} == {None}
    assert theirs in {rule["id"] for rule in magic.list_did_rules(SCOPE, run)}


def test_a_replica_that_somebody_else_brings_is_left_alone(
    bench: Bench, official_client: Official
) -> None:
    """As `rucio upload` leaves it when it is killed: registered, and not yet there."""
    magic = official_client("magic")
    run = "05089104"
    source = inbox(bench, run, 2)
    name = NAME.format(run, 1)
    content = (Path(source["path"]) / name).read_bytes()
    half = {
        "scope": SCOPE,
        "name": name,
        "bytes": len(content),
        "adler32": f"{zlib.adler32(content):08x}",
        "md5": hashlib.md5(content).hexdigest(),
        "state": "C",
    }
    magic.add_replicas("PIC-INJECT", [half])
    ran = bench.run(campaign("half", 0, source=source, end=None))
    assert (ran.code, ran.end["files"]) == (3, {"QUARANTINED": 1, "VERIFIED": 1}), ran.err
    assert ran.end["failures"][0]["code"] == "replica-state"
    assert "COPYING" in ran.end["failures"][0]["reason"]
    assert list((bench.lake.paths.storage / "PIC-INJECT").rglob(name)) == []


def test_a_real_source_is_freed_only_while_its_replicas_are_there(
    bench: Bench, official_client: Official
) -> None:
    run = "05089105"
    source = inbox(bench, run, 3)
    folder = Path(source["path"])
    keys = campaign("freed", 0, source=source, end=None)
    assert bench.run(keys).code == 0
    (folder / NAME.format(run, 1)).write_bytes(b"a new observation of the same name")
    root = official_client("root")
    gone = NAME.format(run, 2)
    (row,) = root.list_replicas([{"scope": SCOPE, "name": gone}], rse_expression="LAPP-FAST")
    root.declare_bad_file_replicas([row["rses"]["LAPP-FAST"][0]], "lost")
    with without_transfers_to(root, "LAPP-FAST"):
        ran = bench.run({**keys, "source": {**source, "free": True}})
    assert ran.code == 3, ran.err
    codes = {failure["did"]: failure["code"] for failure in ran.end["failures"]}
    assert codes == {
        f"{SCOPE}:{NAME.format(run, 1)}": "source-changed",
        f"{SCOPE}:{gone}": "replica-missing",
    }
    assert sorted(path.name for path in folder.iterdir()) == [NAME.format(run, 1), gone]

    # What was lost is waited for in vain.
    ended = bench.run({**keys, "end": END, "replication": {"deadline": "10s"}})
    assert "only copies" in str(ended.end["kept"])
    third = NAME.format(run, 3)
    assert all(stored(bench, rse, third).exists() for rse in HOLDERS)


def test_a_parent_of_an_unfinished_rule_is_kept_and_told(
    bench: Bench, official_client: Official
) -> None:
    """Rucio issue 60: a parent is immortal until its child is OK."""
    root, run = official_client("root"), "05089106"
    rules = [{"rse_expression": "PIC-DCACHE"}]
    keys = campaign("chained", 0, source=inbox(bench, run, 1), rules=rules, end=None)
    assert bench.run(keys).code == 0
    with without_transfers_to(root, "LAPP-FAST"):
        dids = [{"scope": SCOPE, "name": run}]
        (child,) = root.add_replication_rule(dids, 1, "LAPP-FAST", account="magic")
        wait_until(lambda: root.get_replication_rule(child)["state"] == "STUCK")
        (parent,) = (
            rule["id"]
            for rule in root.list_did_rules(SCOPE, run)
            if rule["rse_expression"] == "PIC-DCACHE"
        )
        root.update_replication_rule(parent, {"child_rule_id": child})
        kept = bench.run({**keys, "end": END})
        assert (kept.code, kept.end["files"]) == (3, {"VERIFIED": 1}), kept.err
        assert f"unfinished child rule {child}" in kept.end["kept"][f"{SCOPE}:{run}"]
    boost(root, [{"id": child}])
    wait_until(lambda: root.get_replication_rule(parent)["child_rule_id"] is None)
    root.update_replication_rule(child, {"lifetime": 1, "purge_replicas": True})
    ended = bench.run({**keys, "end": END})
    assert (ended.code, ended.end["files"]) == (0, {"GONE": 1}), ended.err


def test_a_file_whose_last_replica_was_reaped_is_brought_again(
    bench: Bench, official_client: Official
) -> None:
    """Rucio's reaper may take a source between two tries of a transfer (rucio issue 6513)."""
    root, run = official_client("root"), "05089107"
    rules = [{"rse_expression": "QOS=FAST"}]
    short = {"deadline": "10s"}
    source = inbox(bench, run, 2)
    keys = campaign("reaped", 0, source=source, rules=rules, replication=short, end=None)
    with without_transfers_to(root, "LAPP-FAST"):
        assert bench.run_until_stuck(keys).code == 7
        for rule in root.list_did_rules(SCOPE, run):
            if rule["rse_expression"] == "PIC-INJECT":
                root.update_replication_rule(rule["id"], {"lifetime": 1, "purge_replicas": True})
        names = [NAME.format(run, number) for number in (1, 2)]
        uploads = bench.lake.paths.storage / "PIC-INJECT"
        wait_until(lambda: not any(list(uploads.rglob(name)) for name in names))
        dids = [{"scope": SCOPE, "name": name} for name in names]
        wait_until(lambda: not any(row["rses"] for row in root.list_replicas(dids)))

        again = bench.run_until_stuck(keys)
        assert (again.code, again.end["files"]) == (7, {"REPLICATING": 2}), again.err
        assert all(row["states"]["PIC-INJECT"] == "AVAILABLE" for row in root.list_replicas(dids))
    boost(root, [rule for rule in root.list_did_rules(SCOPE, run) if rule["state"] == "STUCK"])
    healed = bench.run({**keys, "replication": {"deadline": "600s"}})
    assert (healed.code, healed.end["files"]) == (0, {"VERIFIED": 2}), healed.err
    for name in names:
        assert (
            stored(bench, "LAPP-FAST", name).read_bytes()
            == stored(bench, "PIC-INJECT", name).read_bytes()
        )


def is_gone(client: Any, name: str) -> bool:
    """Whether the catalogue no longer has a DID."""
    try:
        client.get_did(SCOPE, name)
    except DataIdentifierNotFound:
        return True
    return False


def test_an_imported_ledger_is_taken_up_by_a_run(bench: Bench, official_client: Official) -> None:
    """What is in the lake is adopted and proved, what is gone is brought again."""
    root, run = official_client("root"), "05089108"
    rules = [{"rse_expression": "PIC-DCACHE"}]
    keys = campaign("of2020", 0, source=inbox(bench, run, 2), rules=rules, end=None)
    assert bench.run(keys).code == 0
    seed = bench.folder / "2020.json"
    told = bench.ledger(keys, "export", "--format", "seed", "--out", str(seed))
    assert told.code == 0, told.err

    heir = {**keys, "campaign": "heir"}
    imported = bench.ledger(heir, "import", str(seed))
    assert (imported.code, "2  REGISTERED" in imported.out) == (0, True), imported.err
    taken_up = bench.run(heir)
    assert (taken_up.code, taken_up.end["files"]) == (0, {"VERIFIED": 2}), taken_up.err
    assert taken_up.end["adopted"]["files"] == 2
    kept = bench.run({**heir, "end": END})
    assert "in the lake before this campaign" in str(kept.end["kept"])

    for rule in root.list_did_rules(SCOPE, run):
        root.update_replication_rule(rule["id"], {"lifetime": 1, "purge_replicas": True})
    names = [NAME.format(run, number) for number in (1, 2)]
    wait_until(lambda: all(is_gone(root, name) for name in names))
    late = {**keys, "campaign": "late"}
    assert bench.ledger(late, "import", str(seed)).code == 0
    again = bench.run(late)
    assert (again.code, again.end["files"]) == (0, {"VERIFIED": 2}), again.err
    assert again.end["adopted"]["files"] == 0
    assert "was reaped before a rule kept it" in again.err
    for name in names:
        assert (
            stored(bench, "PIC-DCACHE", name).read_bytes()
            == (bench.folder / "inbox" / name).read_bytes()
        )
