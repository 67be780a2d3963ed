"""How a count is written for people: the one place that knows a single thing from several."""


def counted(count: int, noun: str) -> str:
    """Write `1 evaluation`, `2 evaluations`, `1,000 evaluations`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
