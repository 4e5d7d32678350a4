"""Uploads are held back to a rate."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import SourceUnreadable
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_storage import MemoryStorage
from rucio_inject.throttle import BURST, TokenBucket, throttled


@settings(deadline=None)
@given(
    rate=st.integers(1, 1000),
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=40),
    pauses=st.lists(st.floats(0, 5), min_size=1),
)
def test_no_more_than_the_rate_goes_in_any_time(
    rate: int, sizes: list[int], pauses: list[float]
) -> None:
    clock = FakeClock()
    bucket, begun = TokenBucket(rate, clock), list[tuple[float, int]]()
    for number, size in enumerate(sizes):
        clock.wait(pauses[number % len(pauses)])
        bucket.take(size)
        begun.append((clock.monotonic(), size))
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            seconds = begun[last][0] - begun[first][0]
            before_last = sum(size for _, size in begun[first:last])
            assert before_last <= rate * (seconds + BURST) + 1e-6 * rate


def test_an_upload_waits_and_nothing_else_does(tmp_path: Path) -> None:
    clock = FakeClock()
    lake = MemoryLake(clock)
    storage = throttled(MemoryStorage(lake), TokenBucket(100, clock))
    path = tmp_path / "file"
    path.write_bytes(b"x" * 400)
    begun = clock.monotonic()
    storage.put("PIC-INJECT", path, DID("S", "a"))
    assert clock.monotonic() == begun
    assert storage.count("PIC-INJECT")
    storage.put("PIC-INJECT", path, DID("S", "b"))
    assert clock.monotonic() - begun == pytest.approx(3)


def test_a_file_that_is_not_there_is_the_storages_to_tell(tmp_path: Path) -> None:
    clock = FakeClock()
    storage = throttled(MemoryStorage(MemoryLake(clock)), TokenBucket(1, clock))
    with pytest.raises(SourceUnreadable):
        storage.put("PIC-INJECT", tmp_path / "none", DID("S", "a"))
