"""What became of a sweep, in the end."""

from dataclasses import dataclass

from orchestrator.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK


@dataclass(frozen=True)
class Failure:
    """An evaluation that was given up."""

    run_id: str
    label: str
    kind: str
    """One of the kinds of `attempts`."""
    message: str
    """The reason in one line."""
    log_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The end of a launch, in numbers."""

    sweep: str
    total: int
    """Evaluations of the grid."""
    done_before: int
    """In the store as `ok` when the launch began."""
    done_elsewhere: int
    """Finished by other drivers meanwhile."""
    ok: int
    failed: int
    skipped: int
    """Left alone: failed in an earlier launch (`--skip-failed`), or beyond `--limit`."""
    not_run: int
    """Wanted, but not run to an end: the launch was stopped."""
    attempts: int
    """Rows that this launch has written."""
    seconds: float
    interrupted: bool
    notes: tuple[str, ...] = ()
    """What a reader has to know about the hardware, one line each."""
    failures: tuple[Failure, ...] = ()
    """The first thousand failures."""

    @property
    def done(self) -> int:
        """Evaluations of the grid that are in the store as `ok`."""
        return self.done_before + self.done_elsewhere + self.ok

    @property
    def exit_code(self) -> int:
        """Return 0 only if every evaluation of the grid is in the store as `ok`."""
        if self.done == self.total:
            return EXIT_OK
        return EXIT_INTERRUPTED if self.interrupted else EXIT_FAILED
