"""Changing a project's store behind its back."""

from __future__ import annotations

from tests.cli.project import Project
from tests.operations.tampering import PostgresTamperer, SqliteTamperer, Tamperer


def tamperer_of(project: Project) -> Tamperer:
    """Runs SQL on the project's store."""
    url = project.absolute_url
    return SqliteTamperer(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else PostgresTamperer(url)
