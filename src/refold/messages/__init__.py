"""What is said: events, commands, their metadata, and the types by which the log is read. Pure data, no I/O."""
