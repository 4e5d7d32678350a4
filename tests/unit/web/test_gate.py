"""Who may look, and from where."""

from __future__ import annotations

from pathlib import Path

import pytest

from rucio_inject.domain.errors import UsageError
from rucio_inject.readings.ledger_board import LedgerBoard
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.web.gate import (
    FREE_GUESSES,
    LONGEST_PAUSE,
    MOST_SESSIONS,
    SESSION_SECONDS,
    Doorkeeper,
    Gate,
    Proxy,
    Sessions,
)
from rucio_inject.web.serving import Listening, PageServer

TOKEN = "0123456789abcdef"


class TestDoorkeeper:
    def test_wrong_tokens_take_longer_and_longer(self) -> None:
        clock = FakeClock()
        door = Doorkeeper(TOKEN, clock)
        for _ in range(FREE_GUESSES):
            assert not door.admits("a", "wrong")
        pauses = []
        for _ in range(12):
            pauses.append(door.pause("a"))
            clock.advance(pauses[-1])
            assert not door.admits("a", "wrong")
        assert pauses[:3] == [2.0, 4.0, 8.0]
        assert pauses[-1] == LONGEST_PAUSE

    def test_while_somebody_waits_no_token_is_right(self) -> None:
        clock = FakeClock()
        door = Doorkeeper(TOKEN, clock)
        for _ in range(FREE_GUESSES):
            door.admits("a", "wrong")
        assert not door.admits("a", TOKEN)
        assert door.admits("b", TOKEN)
        clock.advance(2.0)
        assert door.admits("a", f" {TOKEN}\n")
        assert door.pause("a") == 0

    def test_no_part_of_a_token_is_right(self) -> None:
        door = Doorkeeper(TOKEN, FakeClock())
        assert not any(door.admits(text, text) for text in ("", TOKEN[:-1], TOKEN + "0", "ü"))


class TestSessions:
    def test_they_end(self) -> None:
        clock = FakeClock()
        sessions = Sessions(clock)
        session = sessions.begin(None)
        assert sessions.find(session.key) == session
        clock.advance(SESSION_SECONDS)
        assert sessions.find(session.key) is None

    def test_they_are_ended(self) -> None:
        sessions = Sessions(FakeClock())
        session, other = sessions.begin(None), sessions.begin("alice")
        sessions.end(session)
        assert sessions.find(session.key) is None
        assert sessions.find(other.key) == other
        assert sessions.find(None) is sessions.find("") is None

    def test_of_very_many_the_oldest_goes(self) -> None:
        sessions = Sessions(FakeClock())
        first = sessions.begin(None)
        for _ in range(MOST_SESSIONS):
            last = sessions.begin(None)
        assert sessions.find(first.key) is None
        assert sessions.find(last.key) == last


class TestProxy:
    def test_it_is_known_by_its_address(self) -> None:
        proxy = Proxy.of("X-User", ["10.1.0.0/16", "::1"])
        assert [proxy.trusts(a) for a in ("10.1.2.3", "::1", "::ffff:10.1.2.3")] == [True] * 3
        assert [proxy.trusts(a) for a in ("10.2.0.1", "", "unix", "::2")] == [False] * 4

    @pytest.mark.parametrize("trusted", [[], ["somewhere"]])
    def test_nobody_and_nonsense_are_refused(self, trusted: list[str]) -> None:
        with pytest.raises(UsageError):
            Proxy.of("X-User", trusted)


class TestListening:
    def test_this_machine_needs_the_token_only(self) -> None:
        gate = Listening().gate()
        assert (gate.by_token, gate.proxy, gate.secure) == (True, None, False)
        assert {"127.0.0.1", "localhost"} <= gate.hosts
        assert Listening(host="localhost").is_loopback
        assert not Listening(host="example.org").is_loopback

    def test_a_token_is_another_one_each_time(self) -> None:
        tokens = {Listening().gate().token for _ in range(3)}
        assert len(tokens) == 3
        assert min(map(len, tokens)) >= 32

    @pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
    def test_no_token_travels_in_plain_text(self, host: str) -> None:
        with pytest.raises(UsageError, match="plain text"):
            Listening(host=host).gate()

    def test_through_a_proxy_there_is_no_token(self) -> None:
        gate = Listening(host="0.0.0.0", proxy_header="X-User", trust=("10.0.0.1",)).gate()
        assert not gate.by_token
        assert gate.hosts == frozenset()

    def test_https_carries_the_token(self, tmp_path: Path) -> None:
        certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
        gate = Listening(host="0.0.0.0", certificate=certificate, key=key).gate()
        assert (gate.by_token, gate.secure) == (True, True)
        with pytest.raises(UsageError, match="its key"):
            Listening(certificate=tmp_path / "c.pem").gate()

    def test_a_root_path_begins_with_a_slash(self) -> None:
        with pytest.raises(UsageError, match="/"):
            Listening(root_path="inject").gate()


class TestTokenFile:
    def test_it_is_read(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(f"{TOKEN}\n")
        file.chmod(0o600)
        assert Listening(token_file=file).gate().token == TOKEN

    def test_others_must_not_read_it(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(TOKEN)
        file.chmod(0o644)
        with pytest.raises(UsageError, match="others may read"):
            Listening(token_file=file).gate()

    @pytest.mark.parametrize("content", [b"swordfish", b"", b"\xff" * 20, b"a b\x07" * 8])
    def test_it_must_be_a_token(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "token"
        file.write_bytes(content)
        file.chmod(0o600)
        with pytest.raises(UsageError, match="token in") as refused:
            Listening(token_file=file).gate()
        assert "swordfish" not in f"{refused.value.message} {refused.value.hint}"

    def test_it_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot be read"):
            Listening(token_file=tmp_path / "none").gate()


def test_a_cookies_name_tells_nothing_of_the_token() -> None:
    assert TOKEN not in Gate(TOKEN).cookie
    assert Gate(TOKEN).cookie != Gate("another-token-0123").cookie


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    certificate = tmp_path / "c.pem"
    certificate.write_text("no certificate")
    clock = FakeClock()
    for key in (certificate, tmp_path / "none.pem"):
        with pytest.raises(UsageError, match=r"c\.pem or its key"):
            PageServer(
                LedgerBoard([], clock), Listening(certificate=certificate, key=key, port=0), clock
            )
