"""A run of a campaign in a process of its own.

Rucio's client keeps one configuration a process, a run may be killed or crash, and what it leaves
in memory is gone with it: none of that touches the service.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO, BinaryIO, Protocol

from rucio_inject.domain.facts import Fact
from rucio_inject.service.fact_lines import facts

_LINES_KEPT = 20
Told = Callable[[Sequence[Fact]], None]


class Worker(Protocol):
    """A run that goes on, or has ended."""

    def poll(self) -> int | None:
        """Its exit code, negative for a signal that ended it; None while it goes on. All that it
        had to tell has been told when it is known."""
        ...

    def last_words(self) -> str:
        """What it said last on standard error."""
        ...

    def ring(self) -> None:
        """Let it look at once whether what it waits for has come."""
        ...

    def stop(self) -> None:
        """Ask it to stop safely."""
        ...

    def kill(self) -> None:
        """End it at once; the next run goes on from what is on record."""
        ...


class ProcessWorker:
    """Implements `Worker` with a command that is given two more options, for its pipes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], told: Told) -> None:
        """`told` is shown the run's facts, from another thread. OSError if it cannot be begun, or
        not be listened to: then there is none."""
        facts_in, facts_out = os.pipe()
        bell_in, ringer = os.pipe()
        os.set_blocking(ringer, False)
        try:
            self._process = subprocess.Popen(
                [*command, "--facts-fd", str(facts_out), "--bell-fd", str(bell_in)],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(facts_out, bell_in),
                # Ctrl-C on a terminal is for the service, which decides what becomes of its runs.
                start_new_session=True,
            )
        except OSError:
            os.close(facts_in)
            os.close(ringer)
            raise
        finally:
            os.close(facts_out)
            os.close(bell_in)
        # Who rings does so from other threads, and must never write to what another file is by now.
        self._ringing = threading.Lock()
        self._ringer: int | None = ringer
        self._said: deque[str] = deque(maxlen=_LINES_KEPT)
        stderr = self._process.stderr
        assert stderr is not None
        pipes = [os.fdopen(facts_in, "rb"), stderr]
        self._threads = [
            threading.Thread(target=_hear, args=(pipes[0], told), daemon=True),
            threading.Thread(target=self._listen, args=(pipes[1],), daemon=True),
        ]
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:
            self._give_up(pipes)
            raise OSError(errno.EAGAIN, str(error)) from None

    def _give_up(self, pipes: Sequence[IO[bytes]]) -> None:
        """No thread can be begun: a run that nobody watches must not go on."""
        self._process.kill()
        self._process.wait()
        for thread, pipe in zip(self._threads, pipes, strict=True):
            if thread.ident is None:
                pipe.close()
            else:
                # What it has to tell yet comes before the error.
                thread.join(timeout=5)
        assert self._ringer is not None
        os.close(self._ringer)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def poll(self) -> int | None:
        """See `Worker`."""
        code = self._process.poll()
        if code is not None and self._threads:
            # Its pipes are at their end: whoever else may hold them is not waited for long.
            for thread in self._threads:
                thread.join(timeout=5)
            self._threads = []
            with self._ringing:
                if self._ringer is not None:
                    os.close(self._ringer)
                self._ringer = None
        return code

    def last_words(self) -> str:
        """See `Worker`."""
        return " ".join(self._said)

    def ring(self) -> None:
        """See `Worker`."""
        with self._ringing:
            if self._ringer is None:
                return
            try:
                os.write(self._ringer, b".")
            except (BlockingIOError, BrokenPipeError):
                # It has rings enough, or hears no more.
                return

    def stop(self) -> None:
        """See `Worker`."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """See `Worker`."""
        self._process.kill()

    def _listen(self, stderr: BinaryIO) -> None:
        with stderr:
            for line in stderr:
                self._said.append(line.decode(errors="replace").strip())


def _hear(pipe: BinaryIO, told: Told) -> None:
    with pipe:
        for fact in facts(pipe):
            told([fact])
