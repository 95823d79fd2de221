"""Each page's main task, walked by a real browser on the bank: to see, and to act."""

from __future__ import annotations

import csv
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.server.console.test_rebuilding import until_ended
from tests.server.console.visit import Visit
from tests.server.process import ServerProcess

pytestmark = pytest.mark.browser
MANY = 130
"""More events than a page of the log has."""


def done(api: httpx.Client, name: str, body: dict[str, object], **headers: str) -> dict[str, object]:
    answer = api.post(f"/commands/{name}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    receipt: dict[str, object] = answer.json()
    return receipt


def until_seen(api: httpx.Client, receipt: dict[str, object], read_model: str = "account_summary") -> None:
    """Waits, by the server's own means, until a read model has seen what a command did."""
    token = {"Refold-After": str(receipt["position"]), "Prefer": "wait=20"}
    answer = api.get(f"/read-models/{read_model}/count", headers=token)
    assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module", autouse=True)
def bank(api: httpx.Client) -> None:
    """The story of account 42, and a busy account."""
    done(api, "OpenAccount", {"account_id": "42", "owner": "alice"})
    done(api, "DepositMoney", {"account_id": "42", "amount": "100"})
    done(api, "WithdrawMoney", {"account_id": "42", "amount": "30"})
    done(api, "SuspendAccount", {"account_id": "42", "reason": "fraud-check"})
    done(api, "OpenAccount", {"account_id": "busy", "owner": "bert"})
    for number in range(1, MANY):
        done(api, "DepositMoney", {"account_id": "busy", "amount": str(number)})
    until_seen(api, done(api, "DepositMoney", {"account_id": "busy", "amount": "1"}))


def row_texts(page: Page, place: int) -> list[str]:
    return page.locator(f"main tbody tr td:nth-child({place})").all_inner_texts()


def test_the_overview_lives(visit: Visit, api: httpx.Client) -> None:
    page = visit.to()
    tile = page.locator(".tile", has=page.get_by_role("heading", name="Log head")).locator(".tile-value")
    before = int(tile.inner_text().replace(",", ""))
    assert before == api.get("/operations/status").json()["head"]
    expect(page.get_by_text("All is well.")).to_be_visible()
    expect(page.locator(".spark")).to_have_count(4 + 3)
    receipt = done(api, "DepositMoney", {"account_id": "busy", "amount": "1"})
    expect(tile).to_have_text(f"{receipt['position']:,}")
    expect(page.locator("main tbody").last.locator("tr").first).to_contain_text("MoneyDeposited")


def test_the_log_is_live_can_be_paused_and_goes_on(visit: Visit, api: httpx.Client) -> None:
    page = visit.to("log")
    expect(visit.button("Live")).to_be_visible()
    first = page.locator("main tbody tr").first
    receipt = done(api, "DepositMoney", {"account_id": "busy", "amount": "77.25"})
    expect(first).to_contain_text("amount 77.25")
    expect(first).to_contain_text(f"{receipt['position']:,}")
    visit.button("Live").click()
    done(api, "DepositMoney", {"account_id": "busy", "amount": "78.25"})
    expect(visit.button("Paused · 1 new")).to_be_visible()
    expect(first).to_contain_text("77.25")
    visit.button("Paused · 1 new").click()
    expect(first).to_contain_text("78.25")
    positions = [int(text.replace(",", "")) for text in row_texts(page, 1)]
    assert positions == sorted(set(positions), reverse=True)  # nothing twice, nothing left out
    assert positions[0] - positions[-1] == len(positions) - 1


def test_the_log_is_searched_and_its_address_says_what_is_seen(visit: Visit) -> None:
    page = visit.to("log")
    page.keyboard.press("/")
    page.keyboard.type("fraud-check")
    page.keyboard.press("Enter")
    expect(page.locator("main tbody tr")).to_have_count(1)
    expect(visit.link("AccountSuspended")).to_be_visible()
    assert page.url.endswith("/console/log?text=fraud-check")
    page.reload()
    expect(page.locator("main tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Leave out: payload has fraud-check").click()
    expect(page.locator("main tbody tr")).to_have_count(100)
    page.get_by_label("Event", exact=True).fill("AccountOpened")
    page.get_by_label("Category").fill("account")
    visit.button("Search").click()
    expect(page.locator("main tbody tr")).to_have_count(2)
    page.get_by_text("More: by person").click()
    page.get_by_label("Actor").fill("nobody at all")
    visit.button("Search").click()
    expect(page.get_by_text("No event fits.")).to_be_visible()


def test_the_log_has_pages(visit: Visit, api: httpx.Client) -> None:
    page = visit.to("log")
    expect(page.locator("main tbody tr")).to_have_count(100)  # the page's head comes before them
    newest = row_texts(page, 1)
    page.keyboard.press("n")
    expect(page).to_have_url(re.compile("after="))
    expect(page.locator("main tbody tr").last).to_contain_text("AccountOpened")
    assert not set(newest) & set(row_texts(page, 1))
    page.keyboard.press("p")
    expect(page).to_have_url(f"{visit.url}/console/log")


def test_a_stream_is_shown_at_every_version_and_says_why(visit: Visit) -> None:
    page = visit.to("streams")
    page.get_by_label("Open a stream by its id").fill("account-42")
    visit.button("Open").click()
    expect(page.get_by_role("heading", name="account-42")).to_be_visible()
    assert page.locator(".moment-of .version").all_inner_texts() == ["4", "3", "2", "1"]
    state = page.get_by_role("complementary", name="State")
    changed = state.locator(".changed")
    expect(changed).to_contain_text("suspended")
    expect(changed).to_contain_text("fraud-check")
    state.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(changed.first).to_contain_text("100 → 70")
    expect(page).to_have_url(re.compile("version=3"))
    page.reload()
    expect(changed.first).to_contain_text("100 → 70")
    page.get_by_role("button", name="State at version 1", exact=True).click()
    expect(changed).to_have_count(1)
    expect(changed).to_contain_text("none → alice")
    page.get_by_role("button", name="Why is balance so?").click()
    why = page.get_by_role("dialog")
    expect(why.locator("tbody tr")).to_have_count(2)
    expect(why.locator("tbody tr").last).to_contain_text("100 → 70")
    page.keyboard.press("Escape")
    expect(why).to_have_count(0)


def test_a_stream_is_shown_at_a_moment(visit: Visit, api: httpx.Client) -> None:
    page = visit.to("streams/account-42")
    page.get_by_text("At a moment").click()
    moment = page.get_by_label("Moment")
    moment.fill("2020-01-01T00:00:00")
    expect(page.locator(".version-shown")).to_have_text("0 of 4")
    expect(page.get_by_text("Before the first event")).to_be_visible()
    moment.fill("2099-01-01T00:00:00")
    expect(page.locator(".version-shown")).to_have_text("4, now")


def test_a_snapshot_is_seen_and_forgotten(visit: Visit, api: httpx.Client) -> None:
    done(api, "PlaceOrder", {"order_id": "snap", "customer": "dora", "lines": []})
    done(api, "CancelOrder", {"order_id": "snap", "why": "too large"})
    done(api, "CancelOrder", {"order_id": "snap", "why": "still too large"})
    while api.get("/operations/snapshots/order-snap").raise_for_status().json()["snapshot"] is None:
        time.sleep(0.02)  # it is written behind the command's back, and the page asks for it once
    visit.to("streams/order-snap")
    expect(visit.page.get_by_text("Snapshot at version")).to_be_visible()
    visit.button("Forget").click()
    visit.button("Forget it").click()
    expect(visit.page.get_by_text("No snapshot: a load folds every event.")).to_be_visible()


def test_an_event_shows_what_caused_it_and_what_it_caused(visit: Visit, api: httpx.Client) -> None:
    conversation = {"Refold-Correlation-Id": "talk"}
    order = {
        "order_id": "graph",
        "customer": "eva",
        "lines": [{"product": "pen", "price": "1.20"}],
        "weight": 2**62 + 1,
    }
    first = done(api, "PlaceOrder", order, **conversation)
    event = api.get(f"/events/{first['position']}").json()["event"]
    caused = {**conversation, "Refold-Causation-Id": event["event_id"]}
    second = done(api, "DepositMoney", {"account_id": "busy", "amount": "1.20"}, **caused)
    page = visit.to(f"events/{first['position']}")
    payload = page.get_by_role("region", name="Payload as stored")
    expect(payload).to_contain_text(str(2**62 + 1))  # what no double can hold
    expect(page.get_by_text("customer:eva")).to_be_visible()
    graph = page.get_by_role("region", name="Graph of causes and effects")
    expect(graph.locator(".node text")).to_have_text(["PlaceOrder", "OrderPlaced", "DepositMoney", "MoneyDeposited"])
    expect(graph.locator(".arrow-line")).to_have_count(3)
    expect(graph.locator(".lane-name")).to_have_count(2)
    graph.locator("a.node").last.click()
    expect(page).to_have_url(f"{visit.url}/console/events/{second['position']}")
    expect(page.get_by_role("heading", name="MoneyDeposited")).to_be_visible()
    page.keyboard.press("p")
    expect(page).to_have_url(f"{visit.url}/console/events/{first['position']}")


def test_a_projection_is_paused_and_goes_on(visit: Visit, api: httpx.Client) -> None:
    page = visit.to("projections")
    visit.link("daily_balance").click()
    visit.button("Pause").click()
    page.get_by_label("Reason").fill("we move house")
    visit.button("Pause", within=page.get_by_role("dialog")).click()
    expect(page.locator("h1 ~ .lead .badge")).to_have_text("paused")
    expect(page.locator(".trouble")).to_contain_text("we move house")
    visit.to()
    expect(page.get_by_role("region", name="What is wrong")).to_contain_text("daily_balance: paused")
    visit.link("daily_balance: paused").click()
    visit.button("Resume").click()
    visit.button("Resume", within=page.get_by_role("dialog")).click()
    expect(page.locator("h1 ~ .lead .badge")).to_have_text("running")
    visit.to("audit?show=operations")
    expect(page.locator("main tbody tr", has_text="we move house")).to_contain_text("daily_balance")


def test_a_projection_is_rebuilt_and_rolled_back(visit: Visit, served: ServerProcess) -> None:
    page = visit.to("projections/account_summary")
    visit.button("Rebuild").click()
    visit.button("Rebuild", within=page.get_by_role("dialog")).click()
    expect(page.locator("#toasts")).to_contain_text("The rebuild of account_summary has begun.")
    until_ended(served)
    jobs = page.get_by_role("region", name="Jobs")
    expect(jobs.locator(".job").first).to_contain_text("done")
    visit.button("Roll back").click()
    visit.button("Roll back", within=page.get_by_role("dialog")).click()
    expect(page.get_by_text("is read as it was before its last rebuild")).to_be_visible()


def test_a_parked_row_is_seen_first_and_skipped(visit: Visit, api: httpx.Client) -> None:
    done(api, "PlaceOrder", {"order_id": "bad", "customer": "cursed", "lines": []})
    page = visit.to()
    wrong = page.get_by_role("region", name="What is wrong")
    expect(wrong).to_contain_text("parcel: 1 row is parked", timeout=60_000)
    visit.link("parcel: 1 row is parked").click()
    row = page.get_by_role("region", name="Parked rows").locator("tbody tr")
    expect(row).to_contain_text("no parcel can hold")
    row.get_by_role("button", name="bad").first.click()
    expect(page.get_by_role("dialog").locator("tbody tr")).to_have_count(1)
    page.keyboard.press("Escape")
    row.get_by_role("button", name="Skip").click()
    dialog = page.get_by_role("dialog")
    visit.button("Skip", within=dialog).click()
    expect(dialog).to_be_visible()  # without a reason nothing is left out
    dialog.get_by_label("Reason").fill("it is cursed")
    visit.button("Skip", within=dialog).click()
    expect(page.get_by_text("None: no event of it waits for a person.")).to_be_visible()
    assert api.get("/operations/parked").json() == {"parked": []}


def test_rows_are_filtered_sorted_and_explained(visit: Visit) -> None:
    page = visit.to("read-models")
    visit.link("account_summary").click()
    expect(page.locator("main tbody tr")).to_have_count(2)
    visit.button("balance").click()
    expect(page.get_by_role("columnheader", name="balance")).to_have_attribute("aria-sort", "ascending")
    visit.button("balance").click()
    expect(page.get_by_role("columnheader", name="balance")).to_have_attribute("aria-sort", "descending")
    expect(page).to_have_url(re.compile("order_by=-balance"))
    expect(page.locator("main tbody tr td:first-child")).to_have_text(["busy", "42"])
    visit.button("Condition").click()
    page.get_by_label("Field").select_option("status")
    page.get_by_label("Comparison").select_option("")
    page.get_by_label("Value").select_option("suspended")
    visit.button("Filter").click()
    expect(page.locator("main tbody tr")).to_have_count(1)
    assert "status=suspended" in page.url
    visit.button("Count them").click()
    expect(page.get_by_text("1 row", exact=True)).to_be_visible()
    visit.link("42").click()
    expect(page.locator(".moment-of")).to_have_count(4)
    fields = page.locator(".fields > div")
    expect(fields.filter(has_text="balance")).to_contain_text("70")
    page.locator(".moment-of .version").nth(1).click()
    expect(fields.filter(has_text="balance")).to_contain_text("0 → 100")
    expect(page).to_have_url(re.compile("at_position="))
    page.reload()
    expect(fields.filter(has_text="balance")).to_contain_text("0 → 100")
    page.get_by_label("The row at a moment").fill("2020-01-01T00:00:00")
    expect(page.get_by_text("There was no such row.")).to_be_visible()


def test_rows_have_pages(visit: Visit, api: httpx.Client) -> None:
    for number in range(51):
        done(api, "PlaceOrder", {"order_id": f"paged-{number:02}", "customer": "dora", "lines": []})
    until_seen(api, done(api, "CancelOrder", {"order_id": "paged-50", "why": "enough"}), "parcel")
    page = visit.to("read-models/parcel?order_id.starts_with=paged")
    expect(page.locator("main tbody tr")).to_have_count(50)
    visit.link("Next").click()
    expect(page.locator("main tbody tr")).to_have_count(1)
    assert row_texts(page, 1) == ["paged-50"]


def test_an_id_as_long_as_one_may_be_breaks_no_page(visit: Visit, api: httpx.Client) -> None:
    key = "x" * 180
    receipt = done(api, "PlaceOrder", {"order_id": key, "customer": "dora", "lines": []})
    until_seen(api, receipt, "parcel")
    page = visit.to("read-models/parcel?order_id.starts_with=xxxx")
    cells = page.locator("main tbody tr td")
    expect(cells.first).to_have_text(key)
    table = page.locator("main .scroll")
    assert table.evaluate("(one) => one.scrollWidth - one.clientWidth") == 0
    for path in (f"read-models/parcel/row?key={key}", f"events/{receipt['position']}", f"streams/{receipt['stream']}"):
        visit.whole(path)
        expect(page.locator("main")).to_contain_text(key)
        expect(page.locator("main")).to_contain_text("OrderPlaced")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0, path


def test_a_command_is_tried_refused_and_executed(visit: Visit, api: httpx.Client) -> None:
    page = visit.to("commands")
    page.keyboard.press("/")
    page.keyboard.type("withdraw")
    expect(page.get_by_role("listitem").filter(has_text="Money")).to_have_count(1)
    visit.link("WithdrawMoney").click()
    page.get_by_label("account_id").fill("busy")
    page.get_by_label("amount").fill("a lot")
    visit.button("Dry run").click()
    expect(page.get_by_text("Nothing is done yet.")).to_be_visible()  # the field says what is wrong
    page.get_by_label("amount").fill("1000000")
    visit.button("Dry run").click()
    expect(page.get_by_role("alert")).to_contain_text("insufficient funds")
    page.get_by_label("amount").fill("2.50")
    visit.button("Dry run").click()
    expect(page.get_by_text("at version")).to_contain_text("append to account-busy")
    head = api.get("/events?backward=true&limit=1").json()["head"]
    visit.button("Execute").click()
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    assert api.get("/events?backward=true&limit=1").json()["head"] == head + 1
    visit.link("account-busy").click()
    expect(page.locator(".moment-of").first).to_contain_text("amount 2.50")


def test_a_form_holds_all_that_a_command_may(visit: Visit, api: httpx.Client) -> None:
    page = visit.to("commands/PlaceOrder?order_id=form")
    assert page.get_by_label("order_id").input_value() == "form"
    page.get_by_label("customer").fill("dora")
    lines = page.get_by_role("group", name="lines")
    for number, (product, price) in enumerate((("pen", "1.20"), ("ink", "3.00"))):
        visit.button("Add", within=lines).click()
        lines.get_by_label("product").nth(number).fill(product)
        lines.get_by_label("price").nth(number).fill(price)
    page.get_by_label("colour optional").select_option(label="blue")
    address = page.get_by_role("group", name="address")
    visit.button("Give it", within=address).click()
    address.get_by_label("street").fill("Na příkopě 1")
    notes = page.get_by_role("group", name="notes")
    visit.button("Add", within=notes).click()
    notes.get_by_label("Name").fill("door")
    notes.get_by_label("value").fill("ring twice")
    page.get_by_label("weight").fill(str(2**61 + 1))
    visit.button("Execute").click()
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    text = api.get("/streams/order-form").text
    assert str(2**61 + 1) in text
    payload = json.loads(text)["events"][0]["payload"]
    assert payload["lines"] == [
        {"product": "pen", "price": "1.20", "quantity": 1},
        {"product": "ink", "price": "3.00", "quantity": 1},
    ]
    assert payload["address"] == {"street": "Na příkopě 1", "city": "Praha"}
    assert payload["notes"] == {"door": "ring twice"}


def test_what_is_executed_twice_for_want_of_an_answer_is_done_once(visit: Visit, api: httpx.Client) -> None:
    lost: list[int] = []

    def lose_the_first_answer(route: Route) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route.fetch().status)
            route.abort()

    page = visit.to("commands/DepositMoney?account_id=busy&amount=9")
    page.route("**/commands/DepositMoney", lose_the_first_answer)
    before = api.get("/streams/account-busy?limit=1").json()["version"]
    visit.button("Execute").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing happens twice")
    assert lost == [200]
    visit.button("Execute").click()
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    assert api.get("/streams/account-busy?limit=1").json()["version"] == before + 1
    visit.button("Execute").click()  # the form is filled anew: this is another deposit
    expect(page.get_by_text(f"is at version {before + 2}")).to_be_visible()


def test_the_audit_says_who_changed_what_and_gives_it_away(visit: Visit, api: httpx.Client, tmp_path: Path) -> None:
    me = api.get("/me").json()["name"]
    page = visit.to(f"audit?actor={me}&stream=account-42")
    expect(page.locator("main tbody tr")).to_have_count(4)
    expect(page.locator("main tbody tr").nth(2)).to_contain_text("balance 100 → 70")
    page.get_by_label("Recorded before").fill("2020-01-01T00:00:00")
    visit.button("Search").click()
    expect(page.get_by_text("Nobody changed anything like that.")).to_be_visible()
    visit.to("audit?stream=account-42")
    with page.expect_download() as awaited:
        visit.link("CSV").click()
    file = tmp_path / "events.csv"
    awaited.value.save_as(file)
    with file.open(newline="", encoding="utf-8") as read:
        rows = list(csv.DictReader(read))
    assert [row["type"] for row in rows] == ["AccountOpened", "MoneyDeposited", "MoneyWithdrawn", "AccountSuspended"]
    assert {row["actor"] for row in rows} == {me}


def test_the_keyboard_leads_everywhere(visit: Visit) -> None:
    page = visit.to()
    page.clock.set_fixed_time(datetime.now(UTC))  # the second letter must come soon after the first
    page.keyboard.press("g")
    page.keyboard.press("l")
    expect(page.get_by_role("heading", name="Log")).to_be_focused()
    expect(page.locator("main [data-row]")).to_have_count(100)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("main [data-row]").nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/console/events/"))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Pause what is live")
    page.keyboard.press("Escape")
    page.go_back()
    expect(page.get_by_role("heading", name="Log")).to_be_visible()


def test_the_theme_is_kept(visit: Visit) -> None:
    page = visit.to()
    light = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
    page.get_by_role("button", name="Colours: System").click()
    page.get_by_role("button", name="Colours: Light").click()
    page.reload()
    expect(page.get_by_role("button", name="Colours: Dark")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor") != light


def test_what_is_not_there_is_said(visit: Visit) -> None:
    for path, words in (
        ("nothing/here", "Nothing is at this address."),
        ("streams/account-nobody", "There is no such thing"),
        ("events/99999999", "There is no such thing"),
        ("read-models/nothing", "There is no such read model"),
        ("read-models/account_summary/row", "Nothing is at this address."),
        ("commands/Nothing", "There is no such command"),
        ("projections/nothing", "There is no projection of this name."),
    ):
        expect(visit.to(path).locator("main")).to_contain_text(words)


def test_a_server_that_went_away_is_said_and_come_back_to(
    visit: Visit, served: ServerProcess, api: httpx.Client
) -> None:
    page = visit.to("log")
    expect(visit.button("Live")).to_be_visible()
    served.kill()
    expect(visit.button("Connecting…")).to_be_visible()
    served.start()
    expect(visit.button("Live")).to_be_visible(timeout=20_000)
    receipt = done(api, "DepositMoney", {"account_id": "busy", "amount": "55.55"})
    expect(page.locator("main tbody tr").first).to_contain_text("55.55")
    # The whole text: 202 is in every date of its decade.
    expect(page.locator("main tbody").get_by_text(f"{receipt['position']:,}", exact=True)).to_have_count(1)


def test_what_a_rebuild_would_change_is_seen_before_it_is_done(visit: Visit, served: ServerProcess) -> None:
    page = visit.to("projections/daily_balance")
    visit.button("Compare").click()
    visit.button("Compare", within=page.get_by_role("dialog")).click()
    expect(page.locator("#toasts")).to_contain_text("The comparison of daily_balance has begun")
    until_ended(served)
    expect(page.get_by_role("region", name="Jobs")).to_contain_text("No row would change")
