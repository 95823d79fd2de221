"""The reference page says what the command line says."""

from refold.cli.main import cli
from tests.cli.reference import PAGE, reference


def test_the_reference_page_is_what_help_prints() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `python -m tests.cli.reference`"


def test_every_command_stands_in_a_section_of_the_help() -> None:
    listed = [name for names in cli.sections.values() for name in names]
    assert sorted(listed) == sorted(cli.commands)
