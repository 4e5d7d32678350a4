"""What the CPU of a command is measured with."""

from __future__ import annotations

import sys

import pytest
from benchmarks import cpu


def test_it_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cpu", "--help"])
    with pytest.raises(SystemExit) as ended:
        cpu.main()
    assert ended.value.code == 0
    assert "CPU seconds" in capsys.readouterr().out
