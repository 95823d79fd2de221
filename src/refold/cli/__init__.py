"""The command line: parsing and printing only. What is done is in `refold.operations`."""
