"""An answer goes to the network by one write."""

from __future__ import annotations

import asyncio

from refold.server.one_write import _Gathering


class Wire(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.gone
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.gone

    def close(self) -> None:
        self.gone = True


def _gathering() -> tuple[Wire, _Gathering]:
    wire = Wire()
    return wire, _Gathering(wire, asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_is_one_write() -> None:
    wire, transport = _gathering()
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.written == []
    await asyncio.sleep(0)
    assert wire.written == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert wire.written == [b"head body", b"next"]


async def test_all_is_written_before_it_is_closed() -> None:
    wire, transport = _gathering()
    transport.write(b"bye")
    transport.close()
    assert (wire.written, wire.gone) == ([b"bye"], True)
    await asyncio.sleep(0)
    assert wire.written == [b"bye"]


async def test_to_a_client_that_has_gone_nothing_is_written() -> None:
    wire, transport = _gathering()
    transport.write(b"too late")
    wire.gone = True
    await asyncio.sleep(0)
    assert wire.written == []
