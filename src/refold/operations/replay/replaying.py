"""The replay: the log is read once (more often when there are more states than fit), and every fold sees each event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

from refold.app import App
from refold.errors import DecodeError, InvalidQuery, Refused, UnknownEvent, UnknownVersion
from refold.messages.event_types import why_unreadable
from refold.messages.recorded import StoredEvent
from refold.operations.progress import Progress, unheard
from refold.operations.replay.baseline import Baseline, BaselineHeader, BaselineWriter, mark_positions, marks_of
from refold.operations.replay.comparison import Comparison, Parting
from refold.operations.replay.digests import Track
from refold.operations.replay.explaining import explain
from refold.operations.replay.recorded_log import RecordedLog
from refold.operations.replay.report import EventFailure, FoldReport, ReplayReport, summary_of
from refold.operations.replay.subjects import Fold, Subject, folds_of

__all__ = ["STATES_IN_MEMORY", "replay"]

STATES_IN_MEMORY = 250_000
_STEP_BYTES_IN_MEMORY = 128 * 1_048_576
_SHOWN = 20

_See = Callable[[bytes, Track, Any], None]


async def replay(
    log: RecordedLog,
    app: App,
    *,
    baseline: Path | None = None,
    save: Path | None = None,
    every: int = 1,
    shown: int = 5,
    states_in_memory: int = STATES_IN_MEMORY,
    progress: Progress = unheard,
) -> ReplayReport:
    """Folds a recorded log by the app's code as it is now, and compares every state with a baseline, or saves one.

    States are looked at after each event, or with `every` at the end of each so many positions (a baseline says that
    itself). At most `states_in_memory` states are held at once; for more, the log is read again. The first `shown`
    differences of each fold are explained. Raises `Refused` for a baseline of another log, `BaselineError` for a broken
    one, and what reading the log raises.
    """
    if every < 1 or shown < 0 or states_in_memory < 1:
        raise InvalidQuery("every and states_in_memory must be 1 or more, shown 0 or more")
    before = None if baseline is None else await asyncio.to_thread(Baseline, baseline)
    head = await log.head(progress)
    position = head
    if before is not None:
        position, every = before.header.head, before.header.every
        if head < position:
            raise Refused(
                f"baseline {before.path} was saved of a log of {position:,} events, and {log.name} ends at {head:,}: "
                "it is another log, or an older copy of it"
            )
    report = ReplayReport(
        source=log.name,
        app=app.name,
        position=position,
        head=head,
        every=every,
        baseline=None if baseline is None else str(baseline),
    )
    with ExitStack() as opened:
        writer = None if save is None else opened.enter_context(BaselineWriter(save))
        run = _Run(app, report, before, writer, shown, states_in_memory)
        marks = await run.over(log, progress)
        partings = run.finish()
        if partings:
            found = await explain(log, app.types, partings, every, position, progress)
            run.explained(partings, found)
        if writer is not None and save is not None:
            header = BaselineHeader(app=app.name, head=position, every=every, marks=marks_of(marks))
            folds = [(fold.kind, fold.name, fold.fingerprint, fold.fields) for fold in run.folds]
            await asyncio.to_thread(writer.finish, header, folds)
            report.saved = str(save)
    return report


class _Run:
    """All subjects, and what becomes of their states."""

    def __init__(
        self,
        app: App,
        report: ReplayReport,
        before: Baseline | None,
        writer: BaselineWriter | None,
        shown: int,
        states_in_memory: int,
    ) -> None:
        self.folds = folds_of(app)
        self._types = app.types
        self._report = report
        self._before = before
        self._limit = states_in_memory
        self._marks = {} if before is None else dict(before.header.marks)
        self._subjects: list[Subject] = []
        self._reports: dict[int, FoldReport] = {}
        self._comparisons: dict[int, Comparison] = {}
        self._writer = writer
        for fold in self.folds:
            self._add(fold, shown)
        if before is not None:
            self._note_what_is_gone(before)

    def _add(self, fold: Fold, shown: int) -> None:
        report = FoldReport(kind=fold.kind, name=fold.name)
        section = None if self._before is None else self._before.sections.get((fold.kind, fold.name))
        fields = None
        if section is not None and self._before is not None:
            report.same_code = section.fingerprint == fold.fingerprint
            report.lost_fields = [name for name in section.fields if name not in fold.fields]
            report.new_fields = [name for name in fold.fields if name not in section.fields]
            if not report.lost_fields:
                # Fields that are new have nothing to be compared with.
                fields = section.fields
                self._comparisons[id(fold)] = Comparison(self._before, section, report, shown)
        self._report.folds.append(report)
        self._reports[id(fold)] = report
        self._subjects.append(Subject(fold, self._report.every, fields))

    def _note_what_is_gone(self, before: Baseline) -> None:
        there = {(fold.kind, fold.name) for fold in self.folds}
        for (kind, name), section in before.sections.items():
            if (kind, name) not in there:
                self._report.folds.append(FoldReport(kind=kind, name=name, states=section.states, gone=True))

    async def over(self, log: RecordedLog, progress: Progress) -> dict[int, bytes]:
        """Reads the log, as often as need be. Gives the append ids at the positions that a baseline marks."""
        position = self._report.position
        found = dict.fromkeys(mark_positions(position), b"")
        number = 0
        while number == 0 or self._waiting():
            number += 1
            step = "replay" if number == 1 else f"replay, pass {number}"
            async with aclosing(log.pages(position)) as pages:
                async for page in pages:
                    await asyncio.to_thread(self._take, page, found, number == 1)
                    if page:
                        progress(step, page[-1].position, position)
            await asyncio.to_thread(self._end_pass)
        return found

    def _waiting(self) -> list[Subject]:
        return [subject for subject in self._subjects if not subject.done]

    def _take(self, page: list[StoredEvent], found: dict[int, bytes], first: bool) -> None:
        subjects = self._waiting()
        for stored in page:
            if stored.position in found:
                found[stored.position] = stored.append_id
            mark = self._marks.get(stored.position)
            if mark is not None and mark != stored.append_id.hex():
                assert self._before is not None
                raise Refused(
                    f"baseline {self._before.path} was saved of another log: {self._report.source} has another event "
                    f"at position {stored.position:,}"
                )
            try:
                recorded = self._types.decode(stored)
            except (UnknownEvent, DecodeError) as problem:
                if first:
                    self._report.undecodable += 1
                    if len(self._report.unread) < _SHOWN:
                        self._report.unread.append(EventFailure(summary_of(stored), "", _reason(problem)))
                continue
            for subject in subjects:
                subject.take(recorded)
        self._make_room()

    def _make_room(self) -> None:
        while True:
            crowded = sum(subject.size for subject in self._subjects) > self._limit
            heavy = sum(subject.bytes for subject in self._subjects) > _STEP_BYTES_IN_MEMORY
            if not (crowded or heavy):
                return
            largest = max(self._subjects, key=lambda each: (each.size, each.bytes) if crowded else (each.bytes, 0))
            if not largest.shrink():
                return

    def _end_pass(self) -> None:
        for subject in self._waiting():
            subject.settle()
            report = self._reports[id(subject.fold)]
            comparison = self._comparisons.get(id(subject.fold))
            for key, track, state in subject.tracks():
                report.states += 1
                if comparison is not None:
                    comparison.see(key, track, state)
                if self._writer is not None:
                    self._writer.add(subject.fold.kind, subject.fold.name, key, track)
            failures = [*subject.unrouted_failures, *subject.failures()]
            report.failed += subject.unrouted + len(failures) - len(subject.unrouted_failures)
            report.failures = _first([*report.failures, *failures])
            subject.next_range()

    def finish(self) -> list[tuple[Fold, Parting]]:
        """Ends the comparisons; gives the differences that are to be explained."""
        return [
            (fold, parting)
            for fold in self.folds
            if id(fold) in self._comparisons
            for parting in self._comparisons[id(fold)].finish()
        ]

    def explained(self, partings: list[tuple[Fold, Parting]], found: list[Any]) -> None:
        """Puts the explained differences where they belong."""
        for (fold, _), difference in zip(partings, found, strict=True):
            self._reports[id(fold)].differences.append(difference)


def _first(failures: Iterable[EventFailure]) -> list[EventFailure]:
    return sorted(failures, key=lambda each: (each.event.position, each.key))[:_SHOWN]


def _reason(problem: UnknownEvent | DecodeError) -> str:
    if isinstance(problem, UnknownVersion):
        return f"it was written as version {problem.written} of its class, and the app has {problem.known}"
    if isinstance(problem, UnknownEvent):
        return f"no event class of the app is named {problem.type_name!r}"
    return f"it does not fit its class: {why_unreadable(problem)}"
