"""The contenders' runners: programs that measure one thing each, in a process and an environment of their own."""
