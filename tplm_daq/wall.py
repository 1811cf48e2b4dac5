"""The wall's time, for metadata; durations come from the clock of the instrument."""

from datetime import UTC, datetime


def utc_now() -> str:
    """The wall's time as ISO 8601, for metadata only; durations come from the run's clock."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
