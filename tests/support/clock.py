"""A clock that tells what a test sets it to."""


class Clock:
    """Seconds, as `time.monotonic` tells them."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
