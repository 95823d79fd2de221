"""Whether what was promised holds on a live store: the log is whole, and everything derived from it equals its fold."""

from refold.operations.verify.findings import Check, Finding, Report
from refold.operations.verify.manner import Sample
from refold.operations.verify.verification import verify

__all__ = ["Check", "Finding", "Report", "Sample", "verify"]
