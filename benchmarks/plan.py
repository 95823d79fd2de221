"""What a benchmark is made of: cases, contenders, the runs that measure them, the figures that come out, and the
targets they must reach.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Store = Literal["postgres", "sqlite"]
Environment = Literal["project", "peers", "eventsource"]
Arguments = Mapping[str, object]

REFOLD = "refold"


@dataclass(frozen=True)
class Figure:
    """One number that a run gives; `key` is its name in the runner's answer."""

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower"] = "higher"


@dataclass(frozen=True)
class Contender:
    """Who is measured. `note` is what a reader must know to judge the number."""

    key: str
    title: str
    note: str = ""


@dataclass(frozen=True)
class Seed:
    """A log that is written once, by the contender's own means, and copied for each run that starts from it."""

    key: str
    module: str
    arguments: Arguments
    environment: Environment


@dataclass(frozen=True)
class Check:
    """A question to the database after a run, asked behind the contender's back.

    `expected` is the answer, or the name of the figure in the runner's answer that it must equal.
    """

    sql: str
    expected: object


@dataclass(frozen=True)
class Run:
    """One contender in one case: the runner's module gets the arguments, with the fresh database's `url`, and
    answers with its figures.
    """

    case: str
    contender: str
    module: str
    environment: Environment
    arguments: Arguments = field(default_factory=dict)
    store: Store = "postgres"
    seed: Seed | None = None
    checks: Sequence[Check] = ()
    peer: Environment | None = None
    """Where the measured library is, when the runner is a go-between: it gets the path of that Python as `python`."""
    timeout: float = 900.0


@dataclass(frozen=True)
class Reference:
    """The number that a target is relative to: the median of one contender, or the best of several, in this case or
    another one.
    """

    contenders: tuple[str, ...]
    case: str | None = None


@dataclass(frozen=True)
class Target:
    """What Refold must reach in a case: at least (or at most) `value`, times the reference's median where there is
    one.
    """

    case: str
    figure: str
    bound: Literal["≥", "≤"]
    value: float
    of: Reference | None = None
    contender: str = REFOLD


@dataclass(frozen=True)
class Scale:
    """How much is measured. `quick` is for seeing that all works: its numbers mean little."""

    quick: bool = False

    def choose(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full

    @property
    def seconds(self) -> int:
        """How long a rate is measured."""
        return self.choose(8, 2)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. `baseline` is the contender that the table's ratios are relative to (case by case)."""

    name: str
    title: str
    figures: Sequence[Figure]
    contenders: Sequence[Contender]
    baseline: str
    targets: Sequence[Target]
    runs: Callable[[Scale], Sequence[Run]]

    def title_of(self, contender: str) -> str:
        """A contender's title."""
        return next(each.title for each in self.contenders if each.key == contender)
