"""What a run signs in with is renewed in time, or its end is told."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rucio_inject.domain.errors import SignInFailed
from rucio_inject.domain.facts import CredentialEnds, Fact
from rucio_inject.renewal import Keeper, Renewal, kept_alive
from rucio_inject.testing.fake_clock import FakeClock


class Held:
    """Something that lasts as many seconds as a file says."""

    def __init__(self, clock: FakeClock, file: Path, lasts: float | None) -> None:
        self.used = True
        self._file = file
        self._begin = clock.now()
        if lasts is not None:
            file.write_text(str(lasts))

    def ends(self) -> datetime | None:
        if not self._file.exists():
            return None
        return self._begin + timedelta(seconds=float(self._file.read_text()))

    def missing(self) -> bool:
        return not self._file.exists()


class Port:
    """Answers."""

    name = "port"

    def answer(self, question: int) -> int:
        return question + 1


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lasts"


def keeper(held: Held, clock: FakeClock, command: str | None) -> tuple[Keeper, list[Fact]]:
    told: list[Fact] = []
    return Keeper(held, Renewal(command, before=600, warn=3600), clock, told.append), told


def test_what_lasts_is_left(clock: FakeClock, file: Path) -> None:
    held = Held(clock, file, 700)
    one, told = keeper(held, clock, f"echo 9999 > {file}")
    assert kept_alive(Port(), one).answer(1) == 2
    assert (file.read_text(), told) == ("700", [])


def test_what_ends_soon_is_renewed(clock: FakeClock, file: Path) -> None:
    held = Held(clock, file, 700)
    one, told = keeper(held, clock, f"echo 9999 > {file}")
    port = kept_alive(Port(), one)
    assert port.answer(1) == 2
    clock.advance(101)
    assert port.answer(2) == 3
    assert (file.read_text(), told) == ("9999\n", [])
    assert port.name == "port"


def test_it_is_not_looked_at_for_every_call(clock: FakeClock, file: Path) -> None:
    runs = file.with_name("runs")
    one, _ = keeper(Held(clock, file, 30), clock, f"echo x >> {runs}")
    port = kept_alive(Port(), one)
    for _number in range(50):
        port.answer(1)
    assert runs.read_text() == "x\n"


def test_without_a_command_its_end_is_told_once(clock: FakeClock, file: Path) -> None:
    held = Held(clock, file, 3000)
    one, told = keeper(held, clock, None)
    one.look()
    clock.advance(60)
    one.look()
    (fact,) = told
    assert isinstance(fact, CredentialEnds)
    assert fact.ends == held.ends()
    assert "sign_in.renew" in fact.reason


def test_what_nobody_uses_is_not_told(clock: FakeClock, file: Path) -> None:
    held = Held(clock, file, 10)
    held.used = False
    one, told = keeper(held, clock, None)
    one.look()
    assert told == []


def test_nothing_that_ends(clock: FakeClock, file: Path) -> None:
    one, told = keeper(Held(clock, file, None), clock, None)
    one.look()
    assert told == []


def test_what_is_not_there_yet_is_made(clock: FakeClock, file: Path) -> None:
    one, told = keeper(Held(clock, file, None), clock, f"echo 9999 > {file}")
    one.look()
    assert (file.read_text(), told) == ("9999\n", [])


def test_what_nobody_needs_is_made_once(clock: FakeClock, file: Path) -> None:
    runs = file.with_name("runs")
    one, told = keeper(Held(clock, file, None), clock, f"echo x >> {runs}")
    for _number in range(5):
        one.look()
        clock.advance(60)
    assert (runs.read_text(), told) == ("x\n", [])


def test_what_is_not_there_and_cannot_be_made(clock: FakeClock, file: Path) -> None:
    one, _ = keeper(Held(clock, file, None), clock, "echo no VO >&2; exit 4")
    with pytest.raises(SignInFailed, match=r"nothing to sign in with yet.* exit code 4: no VO"):
        one.look()


@pytest.mark.parametrize(
    ("command", "reason"),
    [("echo wrong pass phrase >&2; exit 3", "exit code 3: wrong pass phrase"), ("true", "lasts")],
)
def test_a_command_that_fails(clock: FakeClock, file: Path, command: str, reason: str) -> None:
    one, told = keeper(Held(clock, file, 100), clock, command)
    one.look()
    (fact,) = told
    assert isinstance(fact, CredentialEnds)
    assert reason in fact.reason
    clock.advance(101)
    with pytest.raises(SignInFailed, match="expired"):
        one.look()


def test_a_command_that_failed_is_not_tried_again_for_each_call(
    clock: FakeClock, file: Path
) -> None:
    runs = file.with_name("runs")
    one, _ = keeper(Held(clock, file, 0), clock, f"echo x >> {runs}; exit 1")
    for _number in range(50):
        with pytest.raises(SignInFailed, match="expired"):
            one.look()
    assert runs.read_text() == "x\n"
    file.write_text("9999")
    clock.advance(11)
    one.look()
    assert runs.read_text() == "x\n"


def test_what_nobody_uses_may_expire(clock: FakeClock, file: Path) -> None:
    runs = file.with_name("runs")
    held = Held(clock, file, 0)
    held.used = False
    one, told = keeper(held, clock, f"echo x >> {runs}")
    for _number in range(3):
        one.look()
        clock.advance(11)
    assert (runs.read_text(), told) == ("x\n", [])
    held.used = True
    with pytest.raises(SignInFailed, match="it made none that lasts longer"):
        one.look()
