"""Files made for the purpose, named as MAGIC names its own."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from rucio_inject.domain.names import Letter, MagicScience, Telescope, Wobble, sanitised
from rucio_inject.measuring import there
from rucio_inject.ports import SourceFile
from rucio_inject.sources.payload import Payload, make, seed_of

FIRST_RUN, LAST_RUN = 10_000_000, 99_999_999
ANGLES = ("000", "090", "180", "270")
STEREO = frozenset({Letter.S, Letter.Q})


@dataclass(frozen=True, slots=True)
class MockPlan:
    """What a cycle's mock files are called. The same plan always gives the same names.

    `runs` and `subruns` are counts; `wobble` is the offset in degrees.
    """

    seed: int
    cycle: int
    night: date
    target: str
    wobble: float
    runs: int
    subruns: int
    telescopes: tuple[Telescope, ...]
    letters: tuple[Letter, ...]

    def names(self) -> Iterator[MagicScience]:
        """Names, run by run. Files of one run share its number and its wobble position, so that
        siblings lie in one dataset."""
        draw = random.Random(f"{self.seed}/{self.cycle}")  # noqa: S311 -- not for secrets
        runs = draw.sample(range(FIRST_RUN, LAST_RUN + 1), self.runs)
        for number, run in enumerate(sorted(runs)):
            wobble = Wobble(f"{self.wobble:.2f}", f"+{ANGLES[number % len(ANGLES)]}")
            for letter in self.letters:
                yield from self._files(f"{run:08d}", letter, wobble)

    def _files(self, run: str, letter: Letter, wobble: Wobble) -> Iterator[MagicScience]:
        stereo = letter in STEREO
        telescopes: Sequence[Telescope] = (Telescope.ST,) if stereo else self.telescopes
        subruns: Sequence[str | None] = (
            (None,) if stereo else [f"{n:03d}" for n in range(1, self.subruns + 1)]
        )
        for telescope in telescopes:
            for subrun in subruns:
                yield MagicScience.make(
                    night=self.night,
                    run=run,
                    letter=letter,
                    source=self.target,
                    telescope=telescope,
                    subrun=subrun,
                    wobble=wobble,
                    extension=".root",
                )


class MockSource:
    """Implements `ports.Source` with the files of a plan, made below a folder when wanted."""

    def __init__(self, plan: MockPlan, folder: Path, payload: Payload) -> None:
        self._plan = plan
        self._folder = folder
        self._payload = payload

    def files(self) -> Iterator[SourceFile]:
        """See the port. Names are written as a catalogue takes them: `_` for `+`."""
        for name in self._plan.names():
            path = self._folder / sanitised(name)
            yield SourceFile(path, path.name, generated=True)

    def provide(self, path: Path) -> None:
        """See the port."""
        if not there(path):
            make(path, self._payload, seed_of(self._plan.seed, path.name))
