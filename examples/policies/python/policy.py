"""The policy `tagged` (see ../README.md) in Python."""

from typing import List, Optional, Tuple

from wit_world import exports
from wit_world.exports import about, selection
from wit_world.exports.selection import PageAnswer, Selected
from wit_world.imports import host
from wit_world.imports.types import Collection, Reason, Run, RunKind, RunTrigger

TAG = "backup"
DAY_MS = 24 * 60 * 60 * 1000
# A week less half a day: a weekly run that starts a little early is not put off for another week.
WEEK_MS = 6 * DAY_MS + DAY_MS // 2


class About(exports.About):
    def describe(self) -> about.Info:
        return about.Info(
            name="tagged",
            version="0.1.0",
            author="Longshore",
            description="Follows the tag `backup` of a collection: never, weekly or first.",
            settings_schema='{"type":"object","additionalProperties":false}',
        )


class Selection(exports.Selection):
    def select(self, run: Run, page: List[Collection]) -> PageAnswer:
        # A collection without a tag gets no answer: no opinion, the next policy of the chain is asked.
        decisions: List[Tuple[int, Selected]] = []
        for collection in page:
            tag = value_of(collection.properties, TAG)
            if tag is None:
                tag = value_of(collection.labels, TAG)
            if tag is not None:
                decisions.append((collection.id, decide(run, collection, tag)))
        return PageAnswer(decisions=decisions, carry=b"")


def value_of(pairs: List[Tuple[str, str]], key: str) -> Optional[str]:
    """If a key is listed twice the last one counts."""
    return dict(pairs).get(key)


def decide(run: Run, collection: Collection, tag: str) -> Selected:
    if tag == "never":
        return unless_kept(run, collection, "tagged-never", "Its tag says that it is never backed up.")
    if tag == "weekly":
        return weekly(run, collection)
    if tag == "first":
        return included("tagged-first", "Its tag says that it goes first.", 10)
    # A misspelt tag must not leave anything out, and must not go unseen.
    host.log(
        host.Level.WARN,
        f"The tag of {collection.database}.{collection.name} is none of never, weekly and first.",
    )
    return included("unknown-tag", "Its tag is none of never, weekly and first, so it goes in.")


def weekly(run: Run, collection: Collection) -> Selected:
    backup = collection.last_backup
    age_ms = 0 if backup is None else max(run.time_ms - backup.time_ms, 0)
    if run.trigger == RunTrigger.MANUAL or backup is None or age_ms >= WEEK_MS:
        return included("weekly-due", "It is backed up once a week, and now is the time.")
    message = f"It is backed up once a week, and its last good backup is {age_ms // DAY_MS} days old."
    return unless_kept(run, collection, "weekly-not-due", message)


def unless_kept(run: Run, collection: Collection, code: str, message: str) -> Selected:
    """The host would put back what the operator protects or the request names: say yes, and why."""
    if collection.protected:
        return included("protected", "The operator protects it.")
    if run.kind == RunKind.COLLECTION and collection.requested:
        return included("requested-by-name", "The request names it.")
    return Selected(
        include_collection=False, include_index_files=False, priority=0, reason=Reason(code=code, message=message)
    )


def included(code: str, message: str, priority: int = 0) -> Selected:
    return Selected(
        include_collection=True, include_index_files=False, priority=priority, reason=Reason(code=code, message=message)
    )
