"""The library eventsourcing 9.5 (synchronous; callers are threads)."""
