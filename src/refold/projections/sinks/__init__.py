"""One module for each kind of store that rows of read models can live in."""
