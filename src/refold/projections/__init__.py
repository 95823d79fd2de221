"""Read models: tables that are folded from the log, kept current, rebuilt, and read."""
