"""Making room by a watermark: the oldest proved files go, and never an unproved one."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.in_memory import quick_folder
from tests.injection_world import SCOPE, World
from tests.property.machine_judge import AtOnce

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import SourceCopy
from rucio_inject.domain.replica import ReplicaState

SPOILS = ("fine", "corrupt", "lost", "rewritten", "unavailable")


def name(number: int) -> str:
    """Every file is in a run of its own."""
    return f"20200203_M1_{5089000 + number:08d}.001_Y_CrabNebula-W0.40_035.root"


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    files=st.lists(st.tuples(st.integers(1, 400), st.sampled_from(SPOILS)), min_size=1, max_size=8),
    capacity=st.integers(200, 4000),
    marks=st.tuples(st.integers(1, 100), st.integers(1, 100)).map(sorted),
    sample=st.sampled_from([None, "50%"]),
)
def test_the_oldest_proved_files_go_and_no_others(
    files: list[tuple[int, str]], capacity: int, marks: list[int], sample: str | None
) -> None:
    low, high = marks
    with quick_folder() as folder, patch("rucio_inject.steps.pool.ThreadPoolExecutor", AtOnce):
        inbox = folder / "inbox"
        inbox.mkdir()
        sizes = {}
        for number, (size, _) in enumerate(files):
            (inbox / name(number)).write_bytes(bytes([number]) * size)
            sizes[name(number)] = size
        source = {"kind": "directory", "path": str(inbox)}
        world = World(folder, {"end": None, "source": source, "access": {"sample": sample}})
        world.run()
        spoiled = {name(number) for number, (_, how) in enumerate(files) if how != "fine"}
        for number, (_, how) in enumerate(files):
            spoil(world, inbox, number, how)
        watermark = {"high": high / 100, "low": low / 100, "capacity": capacity}
        world.changes["source"] = {**source, "free": True, "watermark": watermark}
        outcome = world.run()

        records = {record.did.name: record for record in world.files()}
        gone = [name(n) for n in range(len(files)) if not (inbox / name(n)).exists()]
        assert gone == [n for n, r in records.items() if r.source is SourceCopy.FREED]
        assert spoiled.isdisjoint(gone), "an unproved file was freed"
        fine = [name(n) for n, (_, how) in enumerate(files) if how == "fine"]
        assert gone == fine[: len(gone)], "a younger one went before an older one"
        used, most = sum(sizes.values()), int(high / 100 * capacity)
        wanted = max(used - int(low / 100 * capacity), 0) if used / capacity > high / 100 else 0
        freed = sum(sizes[n] for n in gone)
        if wanted == 0:
            assert not gone, (used, most)
        elif len(gone) < len(fine):
            assert wanted <= freed < wanted + sizes[gone[-1]], "too few went, or too many"
        assert outcome.origin is not None
        assert outcome.origin.used == used - freed
        assert world.broken() == []


def spoil(world: World, inbox: Path, number: int, how: str) -> None:
    """Take away what was proved of a file."""
    did = DID(SCOPE, name(number))
    if how == "corrupt":
        world.lake.corrupt(did, "PIC-DCACHE")
    elif how == "lost":
        world.lake.lose(did, "INFN-NA-DPM")
    elif how == "rewritten":
        # As long as before, so that the origin is as full.
        (inbox / did.name).write_bytes(b"\xff" * len((inbox / did.name).read_bytes()))
    elif how == "unavailable":
        world.lake.replica(did, "LAPP-FAST").state = ReplicaState.BEING_DELETED
