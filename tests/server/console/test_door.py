"""Signing in, and what the console offers to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from refold.server import ApiKeys
from tests.server.console.conftest import APP
from tests.server.console.visit import Visit
from tests.server.process import ServerProcess

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def keys(keys_file: Path) -> dict[str, str]:
    """A key for each kind of person."""
    made = ApiKeys(keys_file)
    roles = {
        "rita": ["reader"],
        "carl": ["reader", "commander:DepositMoney"],
        "olga": ["operator", "commander"],
        "anna": ["reader:account"],
    }
    return {name: made.add(name, each) for name, each in roles.items()}


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, str], keys_file: Path) -> Iterator[ServerProcess]:
    """A server that asks who one is."""
    folder = tmp_path_factory.mktemp("asking")
    with ServerProcess(f"sqlite:///{folder / 'bank.db'}", folder, "--keys", str(keys_file), app=APP) as server:
        hers = {"Authorization": f"Bearer {keys['olga']}"}
        with httpx.Client(base_url=server.url, headers=hers, timeout=30) as olga:  # it may have to wait for 20 s
            olga.post("/commands/OpenAccount", json={"account_id": "42", "owner": "alice"}).raise_for_status()
            answer = olga.post("/commands/PlaceOrder", json={"order_id": "1", "customer": "dora", "lines": []})
            token = {"Refold-After": answer.json()["token"], "Prefer": "wait=20"}
            assert olga.get("/read-models/parcel/count", headers=token).is_success
        yield server


@pytest.fixture
def signed_in(opened: Callable[..., Visit], asking: ServerProcess, keys: dict[str, str]) -> Callable[[str], Visit]:
    """A window in which somebody has signed in."""

    def sign_in(name: str) -> Visit:
        visit = opened(asking.url)
        visit.to("log")
        visit.page.get_by_label("API key or token").fill(keys[name])
        visit.button("Sign in").click()
        expect(visit.page.get_by_role("heading", name="Log")).to_be_visible()
        return visit

    return sign_in


def test_one_signs_in_and_is_where_one_wanted_to_go(
    opened: Callable[..., Visit], asking: ServerProcess, keys: dict[str, str]
) -> None:
    visit = opened(asking.url)
    page = visit.to("streams/account-42?version=0")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    field = page.get_by_label("API key or token")
    expect(field).to_be_focused()
    field.fill("refold_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("is not known")
    field.fill(keys["rita"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="account-42")).to_be_visible()
    assert page.url == f"{asking.url}/console/streams/account-42?version=0"
    assert keys["rita"] not in page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})")
    page.reload()
    expect(page.get_by_role("heading", name="account-42")).to_be_visible()
    visit.button("Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    visit.to("log")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_key_that_is_revoked_leads_back_to_the_door(
    signed_in: Callable[[str], Visit], keys: dict[str, str], keys_file: Path
) -> None:
    made = ApiKeys(keys_file)
    keys["brief"] = made.add("brief", ["reader"])
    visit = signed_in("brief")
    made.revoke("brief")
    # The overview asks by itself, so it may be at the door by now: a link would not be there to be clicked.
    visit.to("streams")
    expect(visit.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_reader_sees_and_is_told_why_not_more(signed_in: Callable[[str], Visit]) -> None:
    visit = signed_in("rita")
    page = visit.to("projections/parcel")
    expect(visit.button("Pause")).to_be_disabled()
    assert visit.button("Pause").get_attribute("title") == "An operator's role is needed"
    expect(page.get_by_role("region", name="Parked rows")).to_have_count(0)
    expect(visit.to("commands").get_by_text("There are no commands that you may execute.")).to_be_visible()
    expect(visit.to("audit?show=operations").get_by_text("The log of operations is for operators.")).to_be_visible()
    expect(visit.to("streams/account-42").get_by_role("link", name="Execute a command")).to_have_count(0)


def test_a_commander_of_one_command_has_that_one(signed_in: Callable[[str], Visit]) -> None:
    visit = signed_in("carl")
    page = visit.to("commands")
    expect(page.locator("main [data-row]")).to_have_text(["DepositMoney"])
    visit.to("commands/DepositMoney?account_id=42&amount=5")
    visit.button("Execute").click()
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    visit.to("streams/account-42")
    expect(page.locator(".moment-of").first).to_contain_text("by carl")


def test_a_reader_of_one_category_sees_that_one(signed_in: Callable[[str], Visit]) -> None:
    visit = signed_in("anna")
    page = visit.page
    expect(page.locator("main tbody tr").first).to_be_visible()
    assert "OrderPlaced" not in page.locator("main tbody").inner_text()
    expect(visit.to("streams").locator("main tbody tr")).to_have_count(1)
    expect(visit.to("streams/order-1").locator("main")).to_contain_text("This identity may not do that")
    expect(visit.to("").locator("main")).to_contain_text("You see the pages that your roles are for")
    expect(visit.to("audit").locator("main tbody tr").first).to_contain_text("account-42")


def test_an_operator_acts(signed_in: Callable[[str], Visit]) -> None:
    visit = signed_in("olga")
    visit.to("projections/parcel")
    expect(visit.button("Pause")).to_be_enabled()
    visit.to("audit?show=operations")
    expect(visit.page.get_by_role("heading", name="Audit")).to_be_visible()
