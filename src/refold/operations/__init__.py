"""What an operator does with a store: status, verify, doctor, export, import, looking at streams. None prints."""
