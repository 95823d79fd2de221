"""Whatever stands in events, rows and reasons is shown as text, on every page: it is never markup, and never runs."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.server.console.visit import Visit

pytestmark = pytest.mark.browser

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>\'"><b>bold</b>javascript:alert(1)'
STREAM = f"order-{EVIL}"
PATHS = [
    "",
    "log",
    "log?text=%3Cimg",
    f"log?text={EVIL}&actor={EVIL}&tag={EVIL}",
    "streams",
    "events/1",
    "audit",
    "audit?show=operations",
    "projections",
    "projections/daily_balance",
    "read-models/parcel",
    f"read-models/parcel?customer={EVIL}",
    f"projections/{EVIL}",
    f"nothing?next={EVIL}",
    f"sign-in?next=javascript:window.hacked=3&{EVIL}",
]


@pytest.fixture(scope="module")
def evil(api: httpx.Client) -> None:
    """An order of which every field is an attack, and one that cannot become a row; operators' reasons are too."""
    order = {
        "order_id": EVIL,
        "customer": EVIL,
        "lines": [{"product": EVIL, "price": "1"}],
        "address": {"street": EVIL, "city": EVIL},
        "notes": {EVIL: EVIL, "__proto__": EVIL, "constructor": EVIL},
    }
    said = {"Refold-Correlation-Id": "".join(EVIL.split()), "Refold-Causation-Id": "".join(EVIL.split())}
    for name, body in (
        ("PlaceOrder", order),
        ("CancelOrder", {"order_id": EVIL, "why": EVIL}),
        ("PlaceOrder", {"order_id": f"{EVIL}2", "customer": "cursed", "lines": []}),
    ):
        answer = api.post(f"/commands/{name}", json=body, headers=said)
        assert answer.status_code == 200, answer.text
        if name == "CancelOrder":  # a page of rows is not drawn anew when a row comes; for a curse there is none
            seen = {"Refold-After": answer.json()["token"], "Prefer": "wait=20"}
            assert api.get("/read-models/parcel/count", headers=seen).is_success
    assert api.post("/operations/projections/daily_balance/pause", json={"reason": EVIL}).status_code == 200


def assert_harmless(page: Page) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.locator("#app img, #app b, #app script, #toasts img, dialog img, dialog b").count() == 0


@pytest.mark.usefixtures("evil")
def test_every_page_shows_it_as_text(visit: Visit) -> None:
    for path in PATHS:
        assert_harmless(visit.whole(path))


@pytest.mark.usefixtures("evil")
def test_what_one_comes_to_by_links_shows_it_as_text(visit: Visit) -> None:
    page = visit.to("streams")
    visit.link(STREAM).click()
    expect(page.locator("main h1")).to_have_text(STREAM)
    expect(page.locator(".fields")).to_contain_text("<script>window.hacked=2</script>")
    assert_harmless(page)
    page.get_by_role("button", name="Why is customer so?").click()
    expect(page.get_by_role("dialog").locator("tbody tr")).to_have_count(1)
    assert_harmless(page)
    page.keyboard.press("Escape")
    visit.link("OrderPlaced").click()
    expect(page.get_by_role("region", name="Payload as stored")).to_contain_text("__proto__")
    expect(page.get_by_role("region", name="Graph of causes and effects")).to_be_visible()
    assert_harmless(page)
    visit.to("read-models/parcel")
    visit.link(EVIL).click()
    expect(page.locator(".moment-of")).to_have_count(2)
    page.locator(".moment-of .version").first.click()
    expect(page.locator(".fields .changed").first).to_be_visible()
    assert_harmless(page)


@pytest.mark.usefixtures("evil")
def test_a_parked_row_and_its_error_are_text(visit: Visit, api: httpx.Client) -> None:
    page = visit.to("projections/parcel")
    row = page.get_by_role("region", name="Parked rows").locator("tbody tr")
    expect(row).to_contain_text("<b>a curse</b>", timeout=60_000)
    row.get_by_role("button", name="Skip").click()
    page.get_by_role("dialog").get_by_label("Reason").fill(EVIL)
    visit.button("Skip", within=page.get_by_role("dialog")).click()
    expect(page.locator("#toasts")).to_contain_text("<img")
    assert_harmless(page)
    visit.to("audit?show=operations")
    expect(page.locator("main tbody")).to_contain_text("<script>")
    assert_harmless(page)


@pytest.mark.usefixtures("evil")
def test_a_refusal_and_what_was_filled_in_are_text(visit: Visit) -> None:
    page = visit.to("commands/PlaceOrder")
    page.get_by_label("order_id").fill(EVIL)
    page.get_by_label("customer").fill(EVIL)
    visit.button("Execute").click()
    expect(page.get_by_role("alert")).to_contain_text("placed already")
    assert_harmless(page)


def test_a_spreadsheet_takes_no_cell_for_a_formula(api: httpx.Client) -> None:
    answer = api.post("/commands/CancelOrder", json={"order_id": EVIL, "why": "=cmd|'/c calc'!A1"})
    assert answer.status_code == 200
    for answer in (
        api.get("/events/export.csv"),
        api.get("/operations/export.csv"),
    ):
        for line in answer.text.splitlines():
            assert not line.startswith(("=", "+", "-", "@"))
            assert not any(f',"{sign}' in line or f",{sign}" in line for sign in "=+-@")
