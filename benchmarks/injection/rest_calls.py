"""How many REST calls a process makes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests


class CallCounter:
    """Counts what goes out through `requests`, which all of Rucio's clients use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Calls so far."""
        with self._lock:
            return self._kinds.total()

    @property
    def kinds(self) -> dict[str, int]:
        """Calls so far by method and first part of the path, the most frequent first."""
        with self._lock:
            return dict(self._kinds.most_common())

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count every call meanwhile, those of other threads included."""
        send = requests.Session.send

        def counted(session: Any, request: Any, **options: Any) -> Any:
            kind = f"{request.method} /{request.path_url.lstrip('/').split('/')[0].split('?')[0]}"
            with self._lock:
                self._kinds[kind] += 1
            return send(session, request, **options)

        requests.Session.send = counted
        try:
            yield
        finally:
            requests.Session.send = send
