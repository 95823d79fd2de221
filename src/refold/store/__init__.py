"""The event store: its interface, appends and their results, and the group commit that every store shares."""
