"""Monthly volumes by district and kind: asked of the Parquet files by DuckDB, and drawn."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

_VOLUMES = """
select month, coalesce(district, $not_recorded), kind, sum(amount::decimal(18, 2)), sum(times)
from monthly_volume left join branch using (account_id)
group by all
order by all"""
_KINDS = {
    "MoneyDeposited": ("in: cash", "#2171b5"),
    "TransferReceived": ("in: transfers", "#6baed6"),
    "InterestPaid": ("in: interest", "#c6dbef"),
    "MoneyWithdrawn": ("out: cash", "#d94801"),
    "TransferSent": ("out: transfers", "#fd8d3c"),
    "FeeCharged": ("out: fees", "#fdd0a2"),
    "PenaltyInterestCharged": ("out: penalty interest", "#7f2704"),
}
"""Kind → what it is called and painted with, in the order of the pieces of a bar."""
NOT_RECORDED = "not recorded"
"""The district of accounts whose branch is not known."""
_DISTRICTS = 12
_MILLION = Decimal(1_000_000)


class Volume(NamedTuple):
    """What moved in a month in the accounts of a district, by kind: the sum, and how often."""

    month: str
    district: str
    kind: str
    amount: Decimal
    times: int


def volumes_in(folder: Path) -> list[Volume]:
    """The volumes that the Parquet files in a folder tell of, to the last digit."""
    with duckdb.connect() as database:
        for view in ("monthly_volume", "branch"):
            database.execute((folder / view / "view.sql").read_text(encoding="utf-8"))
        return [Volume(*row) for row in database.execute(_VOLUMES, {"not_recorded": NOT_RECORDED}).fetchall()]


def totals(volumes: Iterable[Volume], field: str) -> dict[str, Decimal]:
    """The sums by `month`, `district` or `kind`, the largest first."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for volume in volumes:
        found[getattr(volume, field)] += volume.amount
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def draw(volumes: list[Volume], picture: Path) -> None:
    """Saves a picture of them: what moved in each month, and in which districts most."""
    figure = Figure(figsize=(11, 10), layout=ConstrainedLayoutEngine(rect=(0.01, 0.01, 0.98, 0.98)))
    above, below = figure.subplots(2, 1)
    figure.suptitle("What moved in and out of the bank's accounts, in million crowns", fontsize=15, fontweight="bold")

    months = sorted({volume.month for volume in volumes})
    _stacked(above.bar, months, volumes, "month", width=0.8, at="bottom")
    above.set_title(f"By month, {months[0]} to {months[-1]}", loc="left")
    above.set_ylabel("million crowns a month")
    above.set_xticks(range(len(months)), months, rotation=45, ha="right")
    above.set_ylim(0, float(max(totals(volumes, "month").values()) / _MILLION) * 1.05)
    above.legend(frameon=False, loc="upper left")

    by_district = totals(volumes, "district")
    districts = list(by_district)[:_DISTRICTS]
    _stacked(below.barh, districts, volumes, "district", height=0.75, at="left")
    below.invert_yaxis()
    below.set_title(f"By district of the account's branch: {_which(districts, by_district)}", loc="left")
    below.set_xlabel("million crowns, all months together")
    below.set_xlim(0, float(by_district[districts[0]] / _MILLION) * 1.05)
    for axes, axis in ((above, "y"), (below, "x")):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis=axis, alpha=0.3)
        axes.set_axisbelow(True)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)


def _stacked(bars: Any, names: list[str], volumes: list[Volume], field: str, *, at: str, **shape: float) -> None:
    """Bars of which each has a piece for each kind."""
    ends = [0.0] * len(names)
    for kind, (words, colour) in _KINDS.items():
        sums = totals((volume for volume in volumes if volume.kind == kind), field)
        sizes = [float(sums.get(name, Decimal(0)) / _MILLION) for name in names]
        if any(sizes):
            bars(names, sizes, color=colour, label=words, **{at: list(ends)}, **shape)
        ends = [end + size for end, size in zip(ends, sizes, strict=True)]


def _which(shown: list[str], all_of_them: dict[str, Decimal]) -> str:
    if len(shown) == len(all_of_them):
        return f"all {len(shown)}"
    share = sum(all_of_them[name] for name in shown) / sum(all_of_them.values())
    return f"the {len(shown)} largest of {len(all_of_them)}, {share:.0%} of it all"
