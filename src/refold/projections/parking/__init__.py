"""Failures that are visible, bounded and recoverable: parked keys, counted attempts, pauses, the log of operations."""
