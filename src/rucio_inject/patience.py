"""Trying again, as a wrapper around ports: what the world cannot do now, it may do soon."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from rucio_inject.domain.errors import (
    CatalogueUnavailable,
    InjectError,
    StorageUnavailable,
)
from rucio_inject.domain.facts import CallRetried, Fact
from rucio_inject.ports import Clock

P = TypeVar("P")

WORTH_TRYING_AGAIN = (CatalogueUnavailable, StorageUnavailable)
"""All other errors say the same however often the call is made."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is tried in all, and how long the pauses between are, in seconds: `first`,
    doubled each time up to `longest`, each with up to `first` more by chance."""

    attempts: int = 6
    first: float = 0.5
    longest: float = 30.0


def patient(
    port: P,
    patience: Patience,
    clock: Clock,
    mention: Callable[[Fact], None],
    *,
    by_rse: bool = False,
) -> P:
    """The same port, whose calls are tried again when the world cannot answer now.

    Ports' calls may be made twice: a first try whose answer was lost does no harm. Once all tries
    were in vain each later call has only one, until one succeeds; `by_rse`, calls begin with an RSE
    and each RSE is a world of its own, so that nobody waits for one that another is away.
    `mention` is shown a fact before each pause, from whichever thread. Interrupted ends a pause.
    """
    return cast("P", _Patient(port, patience, clock, mention, by_rse=by_rse))


class _Patient:
    """Stands before a port."""

    def __init__(
        self,
        port: object,
        patience: Patience,
        clock: Clock,
        mention: Callable[[Fact], None],
        *,
        by_rse: bool,
    ) -> None:
        self._port = port
        self._by_rse = by_rse
        self._patience = patience
        self._clock = clock
        self._mention = mention
        self._hopeless: set[str] = set()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return partial(self._call, name, found) if callable(found) else found

    def _call(
        self, name: str, method: Callable[..., object], *args: object, **named: object
    ) -> object:
        world = str(args[0]) if self._by_rse else ""
        call = partial(method, *args, **named)
        try:
            # Nearly always that is all, and several of these are made for each file.
            try:
                outcome = call()
            except WORTH_TRYING_AGAIN as error:
                outcome = self._again(name, world, call, error)
        except WORTH_TRYING_AGAIN:
            with self._lock:
                self._hopeless.add(world)
            raise
        if self._hopeless:
            with self._lock:
                self._hopeless.discard(world)
        return outcome

    def _again(
        self, name: str, world: str, call: Callable[[], object], first: InjectError
    ) -> object:
        """Go on with a call whose first try failed."""
        failed = [first]
        with self._lock:
            attempts = 1 if world in self._hopeless else self._patience.attempts

        def attempt() -> object:
            if failed:
                raise failed.pop()
            return call()

        tries = Retrying(
            sleep=self._clock.wait,
            stop=stop_after_attempt(attempts),
            wait=wait_exponential(multiplier=self._patience.first, max=self._patience.longest)
            + wait_random(0, self._patience.first),
            retry=retry_if_exception_type(WORTH_TRYING_AGAIN),
            before_sleep=partial(self._tell, name, attempts),
            reraise=True,
        )
        return tries(attempt)

    def _tell(self, name: str, attempts: int, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        reason = error.message if isinstance(error, InjectError) else str(error)
        told = f"{reason.rstrip('.')} (try {state.attempt_number} of {attempts})"
        self._mention(
            CallRetried(at=self._clock.now(), call=name, reason=told, pause=round(pause, 1))
        )
