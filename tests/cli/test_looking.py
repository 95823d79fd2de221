"""What is in the log, seen from the command line: streams, histories, states now and then."""

from __future__ import annotations

from tests.cli.project import Project
from tests.cli.runner import assert_refused, refold
from tests.domain import OpenAccount, bank


def test_streams_are_listed(accounts: Project) -> None:
    lines = accounts.refold("streams").out.splitlines()
    assert lines[0].split() == ["stream", "version", "position", "last", "event"]
    assert [line.split()[:3] for line in lines[1:]] == [["account-42", "4", "4"], ["account-43", "2", "6"]]


def test_streams_come_in_pages(accounts: Project) -> None:
    first = accounts.refold("streams", "--limit", "1")
    assert first.out.splitlines()[-1] == "the next page: --after account-42"
    second = accounts.refold("streams", "--limit", "1", "--after", "account-42", "--json").json
    assert [each["stream"] for each in second] == ["account-43"]
    assert accounts.refold("streams", "--after", "account-43").out == "no stream after account-43\n"


def test_streams_are_filtered_by_category(accounts: Project) -> None:
    assert len(accounts.refold("streams", "--category", "account", "--json").json) == 2
    assert accounts.refold("streams", "--category", "customer").out == "no stream of category customer\n"


def test_a_history_is_a_table_for_people(accounts: Project) -> None:
    done = accounts.refold("history", "account-42")
    lines = done.out.splitlines()
    assert done.err == ""
    assert lines[0].split() == ["version", "position", "recorded", "at", "occurred", "at", "type", "actor", "payload"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4"]
    assert '2026-01-15 12:00:00.000Z  MoneyDeposited  -      {"amount":"100"}' in lines[2]
    assert lines[4].endswith('MoneyWithdrawn  alice  {"amount":"30"}')
    assert all(line == line.rstrip() for line in lines)


def test_a_history_is_json_for_programs(accounts: Project) -> None:
    events = accounts.refold("history", "account-42", "--json", "--limit", "2").json
    assert [event["version"] for event in events] == [1, 2]
    assert events[1]["payload"] == {"amount": "100"}
    assert events[1]["occurred_at"] == "2026-01-15T12:00:00Z"
    assert events[0]["metadata"]["command"] == "OpenAccount"
    assert events[0]["event_id"] == events[0]["append_id"]


def test_a_history_goes_backward_and_in_pages(accounts: Project) -> None:
    backward = accounts.refold("history", "account-42", "--backward", "--limit", "3")
    assert [line.split()[0] for line in backward.out.splitlines()[1:4]] == ["4", "3", "2"]
    assert backward.out.endswith("\nthe next page: --after 2\n")
    rest = accounts.refold("history", "account-42", "--backward", "--after", "2")
    assert [line.split()[0] for line in rest.out.splitlines()[1:]] == ["1"]
    assert accounts.refold("history", "account-42", "--after", "4").out == "no event of account-42 beyond version 4\n"


def test_a_narrow_terminal_leaves_out_what_matters_least(accounts: Project) -> None:
    for columns in (100, 80, 60, 40):
        out = accounts.refold("history", "account-42", columns=columns).out
        assert all(len(line) <= columns for line in out.splitlines()), out
        assert "MoneyWithdrawn" in out
        assert "payload" in out


async def test_a_long_payload_is_cut_in_the_table_and_whole_where_it_is_asked_for(accounts: Project) -> None:
    owner = "a very long name " * 30
    async with bank.connect(accounts.absolute_url, projections=False) as context:
        await context.execute(OpenAccount(account_id="44", owner=owner), actor="alice")
    table = accounts.refold("history", "account-44", columns=80)
    assert owner not in table.out
    assert table.out.endswith("\npayloads are cut, --full shows all\n")
    full = accounts.refold("history", "account-44", "--full", columns=80)
    assert (full.code, full.err) == (0, "")
    heading, payload, metadata = full.out.splitlines()
    assert heading.startswith("1  AccountOpened  position 7, recorded 20")
    assert payload == f'payload   {{"owner":"{owner}"}}'
    assert metadata.startswith('metadata  {"actor":"alice"')
    assert accounts.refold("history", "account-44", "--json", columns=80).json[0]["payload"] == {"owner": owner}
    assert "--full" not in accounts.refold("history", "account-42").out


def test_a_full_history_shows_each_event_apart(accounts: Project) -> None:
    out = accounts.refold("history", "account-42", "--full", "--limit", "2").out
    first, second = out.split("\n\n", 1)
    assert first.startswith("1  AccountOpened  position 1, recorded 20")
    assert ', occurred 2026-01-15 12:00:00.000Z\npayload   {"amount":"100"}\n' in second
    assert second.endswith("\nthe next page: --after 2\n")


def test_the_state_of_an_aggregate_is_shown(accounts: Project) -> None:
    out = accounts.refold("show", "account-42").out
    assert out.startswith("Account  account-42\nseen     all 4 events, up to version 4 (position 4, ")
    assert out.endswith("\n\nowner    alice\nbalance  120\nclosed   false\n")


def test_the_state_is_shown_as_it_was(accounts: Project) -> None:
    def balance(*bounds: str) -> str:
        shown = accounts.refold("show", "account-42", "--json", *bounds).json
        return f"{shown['state']['balance']} after {shown['events']} of {shown['newest_version']}"

    assert balance("--at-version", "2") == "100 after 2 of 4"
    assert balance("--at-version", "0") == "0 after 0 of 4"
    assert balance("--at-position", "3") == "150 after 3 of 4"
    assert balance("--as-of", "1999-01-01T00:00:00Z") == "0 after 0 of 4"
    assert balance("--as-of", "2999-01-01T00:00:00Z") == "120 after 4 of 4"
    assert balance("--as-of", "2026-01-15T13:00:00+01:00", "--occurred") == "100 after 1 of 4"


def test_a_state_before_any_event_is_shown_as_such(accounts: Project) -> None:
    out = accounts.refold("show", "account-42", "--at-version", "0").out
    assert "no event: the state before any of the 4" in out
    assert "owner    -" in out


def test_what_is_not_there_is_one_line(accounts: Project) -> None:
    assert_refused(accounts.refold("history", "account-99"), 2, "there is no stream 'account-99'")
    assert_refused(accounts.refold("show", "account-99"), 2, "there is no stream 'account-99'")
    assert_refused(accounts.refold("show", "customer-1"), 2, "no aggregate", "'customer'", "it has: account")


def test_looking_at_an_empty_store_is_no_error(project: Project) -> None:
    assert project.refold("migrate").code == 0
    assert project.refold("streams").out == "no stream\n"
    assert project.refold("streams", "--json").json == []


def test_output_is_utf8_wherever_it_goes(accounts: Project) -> None:
    done = refold("history", "account-42", "--json", cwd=accounts.folder, LC_ALL="C")
    assert len(done.json) == 4


def test_a_reader_that_has_seen_enough_is_no_error(accounts: Project) -> None:
    process = accounts.start("history", "account-42", "--json")
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
