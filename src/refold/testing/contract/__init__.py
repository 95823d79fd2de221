"""The contract suite: what every event store must do. A store's author derives one class from it and gives it a `store`
fixture.

    class TestMyStore(EventStoreContract):
        @pytest.fixture
        async def store(self):
            store = await open_my_store()
            yield store
            await store.close()

It needs pytest with pytest-asyncio in its automatic mode.
"""

from refold.testing.contract.appending import Appending
from refold.testing.contract.conditions import Conditions
from refold.testing.contract.limits import BoundedQueue, Refusals
from refold.testing.contract.reading import Reading
from refold.testing.contract.repeating import Repeating
from refold.testing.contract.restoring import Restoring
from refold.testing.contract.snapshots import Snapshots
from refold.testing.contract.transactions import Transactions

__all__ = ["EventStoreContract"]


class EventStoreContract(
    Appending, Conditions, Repeating, Reading, Transactions, Snapshots, Restoring, Refusals, BoundedQueue
):
    """All of the contract."""
