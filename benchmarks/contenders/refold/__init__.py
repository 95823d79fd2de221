"""Refold itself."""
