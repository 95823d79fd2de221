"""A bank whose mails are sent by a projection that is written by hand."""

from refold import App
from refold.projections.handwritten import ProjectionPage
from tests.domain import Account

app = App("bank", aggregates=[Account])


@app.projection("mails")
async def mails(page: ProjectionPage) -> None:
    """Sends nothing, in fact."""
