"""Every list of the console, asked for over HTTP as its pages ask, from a long log."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from benchmarks import workload
from benchmarks.contenders.refold.busy_bank import AUDITOR, CITIES, LONG
from benchmarks.contenders.refold.http_calls import Connection, connections, server_process
from benchmarks.contenders.runner import serve
from tests.servers import Unavailable, find_chromium

CALLS = 20
_USABLE = ".tiles .tile:nth-child(4)"
"""What the first page shows last of what it is for: it has asked how everything stands, and drawn it."""


class Ask(NamedTuple):
    """One list or look: the figure that it counts for, what it is called, and where it is."""

    page: str
    what: str
    address: str


class Took(NamedTuple):
    """Milliseconds: the first call on a server that has just begun, the median and the worst of those behind it."""

    ask: Ask
    first: float
    middle: float
    worst: float


async def measure(arguments: dict[str, Any], told: Callable[[Took], None] | None = None) -> dict[str, Any]:
    """For each page of the console its slowest list: the medians, the worst calls, and the first ones."""
    took: list[Took] = []
    with server_process(arguments["url"], app="busy_bank", projections=True) as url:
        async with connections(url, 1) as (connection,):
            opened = await _opened(connection)
            for ask in await _asks(connection, arguments["events"], arguments["accounts"]):
                one = await _took(connection, ask)
                took.append(one)
                if told is not None:
                    told(one)
        browser = _in_browser(url)
    figures: dict[str, Any] = {"opened": opened, "browser": browser}
    for page in dict.fromkeys(each.ask.page for each in took):
        those = [each for each in took if each.ask.page == page]
        figures[page] = max(each.middle for each in those)
        figures[f"{page} worst"] = max(max(each.worst, each.first) for each in those)
    return figures


async def _took(connection: Connection, ask: Ask) -> Took:
    times = [await _timed(connection, ask.address) for _ in range(CALLS + 1)]
    return Took(ask, times[0], median(times[1:]), max(times[1:]))


async def _timed(connection: Connection, address: str) -> float:
    begun = perf_counter()
    await connection.call("GET", address)
    return (perf_counter() - begun) * 1000


async def _opened(connection: Connection) -> float:
    """Milliseconds until a fresh server has given all that the first page is made of, one after the other."""
    begun = perf_counter()
    shell = (await connection.call("GET", "/console/")).decode()
    root = f"/console/{re.findall(r'static/[0-9a-f]+', shell)[0]}/"
    seen: set[str] = set()
    waiting = [f"{root}{name}" for name in re.findall(r"static/[0-9a-f]+/([\w./-]+)", shell)]
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        text = (await connection.call("GET", address)).decode()
        folder = address.rpartition("/")[0]
        waiting += [_plain(f"{folder}/{name}") for name in re.findall(r'(?:from|import\()\s*"(\.[\w./-]+)"', text)]
    for address in ("/console/session", "/operations/overview", "/events?backward=true&limit=8"):
        await connection.call("GET", address)
    return (perf_counter() - begun) * 1000


def _plain(address: str) -> str:
    parts: list[str] = []
    for part in address.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _in_browser(url: str) -> float | None:
    """Milliseconds until a browser that was never here shows the first page; None where there is no Chromium."""
    try:
        program = find_chromium()
    except Unavailable:
        return None
    script = (
        "import sys, time\n"
        "from playwright.sync_api import sync_playwright\n"
        "with sync_playwright() as playwright:\n"
        "    options = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']\n"
        "    running = playwright.chromium.launch(executable_path=sys.argv[1], args=options)\n"
        "    page = running.new_page()\n"
        "    begun = time.perf_counter()\n"
        "    page.goto(sys.argv[2])\n"
        "    page.wait_for_selector(sys.argv[3])\n"
        "    print((time.perf_counter() - begun) * 1000)\n"
    )
    command = [sys.executable, "-c", script, str(program), f"{url}/console/", _USABLE]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


async def _asks(connection: Connection, events: int, accounts: int) -> list[Ask]:
    middle = events // 2
    one = msgspec.json.decode(await connection.call("GET", f"/events/{middle}"))["event"]
    moment = datetime.fromisoformat(one["recorded_at"])
    log = _Asks("log")
    log.add("the newest", "/events", backward="true", limit=100)
    log.add("from the middle back", "/events", backward="true", limit=100, after=middle)
    log.add("the oldest", "/events", backward="true", limit=100, after=101)
    log.add("a frequent type", "/events", backward="true", limit=100, type="MoneyDeposited")
    log.add("a rare type", "/events", backward="true", limit=100, type="AccountFrozen")
    log.add("a type that ended", "/events", backward="true", limit=100, type="ShopOpened")
    log.add("a frequent category", "/events", backward="true", limit=100, category="account")
    log.add("a category that ended", "/events", backward="true", limit=100, category="shop")
    log.add("a frequent tag", "/events", backward="true", limit=100, tag="shop:7")
    log.add("a rare tag", "/events", backward="true", limit=100, tag="reason:audit")
    log.add("a tag and a type", "/events", backward="true", limit=100, tag="shop:7", type="CardPaid")
    log.add("a tag that nobody has", "/events", backward="true", limit=100, tag="shop:none")
    log.add("until a moment", "/events", backward="true", limit=100, until=moment.isoformat())
    around = {"since": (moment - timedelta(seconds=1)).isoformat(), "until": moment.isoformat()}
    log.add("a second of it", "/events", backward="true", limit=100, **around)
    log.add("a rare actor", "/events", backward="true", limit=100, actor=AUDITOR)
    log.add("a conversation", "/events", backward="true", limit=100, correlation_id=one["metadata"]["correlation_id"])
    log.add("a text", "/events", backward="true", limit=100, text="no such text")
    one_event = _Asks("event")
    one_event.add("an event", f"/events/{middle}")
    one_event.add("its conversation", f"/events/{middle}/related")
    streams = _Asks("streams")
    streams.add("the first", "/streams", limit=100)
    streams.add("from the middle on", "/streams", limit=100, after=f"account-{accounts // 2}")
    streams.add("the last", "/streams", limit=100, after="shop-99")
    streams.add("of a category", "/streams", limit=100, category="shop")
    streams.add("of the other category, deep", "/streams", limit=100, category="account", after="account-9")
    stream = _Asks("stream")
    for what, name in (("a long one", LONG), ("another", f"account-{accounts // 3}")):
        stream.add(f"{what}, the newest", f"/streams/{name}", backward="true", limit=50)
        stream.add(f"{what}, older", f"/streams/{name}", backward="true", limit=50, after=events // 100)
        stream.add(f"{what}, the first", f"/streams/{name}", backward="true", limit=50, after=50)
        stream.add(f"{what}, its snapshot", f"/operations/snapshots/{name}")
    states = []
    for page, what, name, version in (
        ("long state", "a long one", LONG, events // 50),
        ("state", "another", f"account-{accounts // 3}", 10),
    ):
        states.append(state := _Asks(page))
        of = name.replace("-", "/", 1)
        state.add(f"{what}, now", f"/aggregates/{of}")
        state.add(f"{what}, at a version", f"/aggregates/{of}", at_version=version // 2)
        state.add(f"{what}, at a moment", f"/aggregates/{of}", as_of=moment.isoformat())
        state.add(f"{what}, what a version changed", f"/aggregates/{of}/changes", after=version // 2, limit=1)
        state.add(f"{what}, why a field is so", f"/aggregates/{of}/changes", field="balance", limit=50)
        state.add(f"{what}, why a rare field is so", f"/aggregates/{of}/changes", field="owner", limit=50)
    return [
        *log.asks,
        *one_event.asks,
        *streams.asks,
        *stream.asks,
        *(ask for each in states for ask in each.asks),
        *await _row_asks(connection, events, accounts, moment),
        *_operations(),
    ]


async def _row_asks(connection: Connection, events: int, accounts: int, moment: datetime) -> list[Ask]:
    models = _Asks("rows")
    models.add("the read models", "/read-models")
    asks = models.asks
    for page, name, columns, filters in (
        (
            "rows",
            "account_sheet",
            ("account_id", "owner", "balance", "movements", "last_reference", "frozen"),
            (
                ("owner", f"{workload.OWNER} 77"),
                ("balance.ge", "500"),
                ("frozen", "true"),
                ("account_id.starts_with", "777"),
                ("owner.contains", "nobody"),
            ),
        ),
        (
            "many rows",
            "payment",
            ("payment_id", "amount", "shop", "city"),
            (
                ("shop", "77"),
                ("city", CITIES[0]),
                ("amount.lt", "1.001"),
                ("payment_id.starts_with", "p-77"),
                ("city.contains", "nowhere"),
            ),
        ),
    ):
        rows = _Asks(page)
        path = f"/read-models/{name}/rows"
        rows.add(f"{name}, the first", path, limit=50)
        rows.add(f"{name}, further on", path, limit=50, cursor=await _deep(connection, path, 10))
        for column in columns:
            for order in (column, f"-{column}"):
                rows.add(f"{name} by {order}", path, limit=50, order_by=order)
                cursor = await _deep(connection, path, 2, order_by=order)
                rows.add(f"{name} by {order}, further on", path, limit=50, order_by=order, cursor=cursor)
        for field, value in filters:
            rows.add(f"{name}, {field}={value}", path, limit=50, **{field: value})
        rows.add(f"{name}, counted", f"/read-models/{name}/count")
        field, value = filters[1]
        rows.add(f"{name}, counted where {field}={value}", f"/read-models/{name}/count", **{field: value})
        asks += rows.asks
    row, then = _Asks("row"), _Asks("row then")
    for what, name, key in (
        ("an account", "account_sheet", str(accounts // 3)),
        ("an account of 100,000 events", "account_sheet", "0"),
        ("a payment", "payment", await _a_payment(connection)),
    ):
        path = f"/read-models/{name}/rows/{quote(key)}"
        row.add(f"{what}, now", path)
        row.add(f"{what}, its events", f"{path}/events", limit=100)
        if name == "account_sheet":  # others may have events anywhere in the log, which is folded from its beginning
            then.add(f"{what}, at a moment", path, as_of=moment.isoformat())
    return [*asks, *row.asks, *then.asks]


async def _a_payment(connection: Connection) -> str:
    found = msgspec.json.decode(await connection.call("GET", "/read-models/payment/rows?limit=1&order_by=-payment_id"))
    key: str = found["rows"][0]["payment_id"]
    return key


def _operations() -> list[Ask]:
    asks = _Asks("operations")
    asks.add("overview", "/operations/overview")
    asks.add("overview, what is new", "/operations/overview", after=1)
    asks.add("status", "/operations/status")
    asks.add("parked", "/operations/parked")
    asks.add("parked of one", "/operations/parked", read_model="payment")
    asks.add("jobs", "/operations/jobs")
    asks.add("what operators did", "/operations/log", limit=100)
    asks.add("snapshots", "/operations/snapshots", limit=100)
    asks.add("kinds of aggregates", "/aggregates")
    asks.add("catalogue", "/catalogue")
    asks.add("commands", "/commands")
    asks.add("ready", "/readyz")
    return asks.asks


class _Asks:
    def __init__(self, page: str) -> None:
        self.page = page
        self.asks: list[Ask] = []

    def add(self, what: str, path: str, **query: object) -> None:
        self.asks.append(Ask(self.page, what, f"{path}?{urlencode(query)}" if query else path))


async def _deep(connection: Connection, path: str, pages: int, **query: object) -> str:
    """The cursor of a page behind so many."""
    cursor = ""
    for _ in range(pages):
        asked = urlencode({**query, "limit": 1000, **({"cursor": cursor} if cursor else {})})
        following = msgspec.json.decode(await connection.call("GET", f"{path}?{asked}"))["next"]
        if following is None:
            break
        cursor = following
    return cursor


if __name__ == "__main__":
    serve(measure)
