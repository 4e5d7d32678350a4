"""Asking what may never answer, in a thread of its own, so that nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

from rucio_inject.domain.errors import LedgerUnavailable
from rucio_inject.ports import Clock

Answer = TypeVar("Answer")
Asking = Callable[[Callable[[], Any]], Future[Any]]
"""How a question is asked: at once, gives what its answer comes in."""
PATIENCE = 15.0
"""Seconds after which who has not answered counts as away. A server that cannot be connected to
says so before."""


def apart(question: Callable[[], Answer]) -> Future[Answer]:
    """Ask in a thread of its own; LedgerUnavailable if none can be begun. The end of the process
    does not wait for the answer."""
    coming: Future[Answer] = Future()

    def ask() -> None:
        try:
            coming.set_result(question())
        except BaseException as error:  # noqa: BLE001 -- raised where the answer is taken
            coming.set_exception(error)

    try:
        threading.Thread(target=ask, name="asking", daemon=True).start()
    except RuntimeError as error:
        # The machine has no room for another thread now.
        coming.set_exception(LedgerUnavailable(f"its ledger cannot be asked: {error}"))
    return coming


class Asked(Generic[Answer]):
    """A question that is asked again and again, one time after the other: of what never answers
    there is one thread. For one thread at a time."""

    def __init__(self, question: Callable[[], Answer], clock: Clock, asking: Asking) -> None:
        self._question = question
        self._clock = clock
        self._asking = asking
        self._coming: Future[Answer] | None = None
        self._since = 0.0

    def answer(self) -> Answer | None:
        """The answer, once; None as long as it has not come. The first look asks, and so does the
        one after an answer. Raises what the question raises.

        LedgerUnavailable if there is none after `PATIENCE`. What is older is not taken, as it may
        not be so any more: it is asked for again.
        """
        waited = self._clock.monotonic() - self._since
        if self._coming is None or (waited >= PATIENCE and self._coming.done()):
            self._since, waited = self._clock.monotonic(), 0.0
            self._coming = self._asking(self._question)
        if self._coming.done():
            coming, self._coming = self._coming, None
            return coming.result()
        if waited < PATIENCE:
            return None
        raise LedgerUnavailable(
            f"its ledger has not answered for {waited:.0f} s",
            hint="see whether its server, and the way there, are up",
        )


class Answers(Generic[Answer]):
    """Questions to many, all asked at once. For several threads; of who never answers there is one
    question on its way, however often somebody wants to know."""

    def __init__(self, clock: Clock, patience: float, asking: Asking = apart) -> None:
        """`patience`: seconds after its question for which an answer is waited for."""
        self._clock = clock
        self._patience = patience
        self._asking = asking
        self._lock = threading.Lock()
        self._coming: dict[str, tuple[Future[Answer], float]] = {}

    def of(self, questions: Mapping[str, Callable[[], Answer]]) -> Mapping[str, Future[Answer]]:
        """The answers that have come, by the names of their questions."""
        with self._lock:
            asked = {name: self._ask(name, question) for name, question in questions.items()}
        return {name: future for name, (future, at) in asked.items() if self._has_come(future, at)}

    def _has_come(self, future: Future[Answer], asked_at: float) -> bool:
        left = asked_at + self._patience - self._clock.monotonic()
        return bool(wait([future], timeout=max(left, 0.0)).done)

    def _ask(self, name: str, question: Callable[[], Answer]) -> tuple[Future[Answer], float]:
        known = self._coming.get(name)
        if known is None or known[0].done():
            known = self._coming[name] = (self._asking(question), self._clock.monotonic())
        return known
