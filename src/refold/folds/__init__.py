"""Pure folds: the state of an aggregate, the rows of a read model. No I/O in here, ever."""
