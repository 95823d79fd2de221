"""Benchmarks: Refold beside its peers and beside the raw database, on one machine in one run.

`python -m benchmarks --list` names them.
"""
