// The policy `tagged` (see ../README.md) in JavaScript.

import { log } from "longshore:policy/host@0.1.0";

const TAG = "backup";
const DAY_MS = 24n * 60n * 60n * 1000n;
// A week less half a day: a weekly run that starts a little early is not put off for another week.
const WEEK_MS = 6n * DAY_MS + DAY_MS / 2n;

export const about = {
  describe() {
    return {
      name: "tagged",
      version: "0.1.0",
      author: "Longshore",
      description: "Follows the tag `backup` of a collection: never, weekly or first.",
      settingsSchema: '{"type":"object","additionalProperties":false}',
    };
  },
};

export const selection = {
  // A collection without a tag gets no answer: no opinion, the next policy of the chain is asked.
  select(run, page) {
    const decisions = [];
    for (const collection of page) {
      const tag = valueOf(collection.properties, TAG) ?? valueOf(collection.labels, TAG);
      if (tag !== undefined) decisions.push([collection.id, decide(run, collection, tag)]);
    }
    return { decisions, carry: new Uint8Array() };
  },
};

// If a key is listed twice the last one counts.
function valueOf(pairs, key) {
  return pairs.findLast(([name]) => name === key)?.[1];
}

function decide(run, collection, tag) {
  switch (tag) {
    case "never":
      return unlessKept(run, collection, "tagged-never", "Its tag says that it is never backed up.");
    case "weekly":
      return weekly(run, collection);
    case "first":
      return included("tagged-first", "Its tag says that it goes first.", 10);
    default:
      // A misspelt tag must not leave anything out, and must not go unseen.
      log("warn", `The tag of ${collection.database}.${collection.name} is none of never, weekly and first.`);
      return included("unknown-tag", "Its tag is none of never, weekly and first, so it goes in.");
  }
}

function weekly(run, collection) {
  const backup = collection.lastBackup;
  const ageMs = backup === undefined || run.timeMs < backup.timeMs ? 0n : run.timeMs - backup.timeMs;
  if (run.trigger === "manual" || backup === undefined || ageMs >= WEEK_MS) {
    return included("weekly-due", "It is backed up once a week, and now is the time.");
  }
  const message = `It is backed up once a week, and its last good backup is ${ageMs / DAY_MS} days old.`;
  return unlessKept(run, collection, "weekly-not-due", message);
}

// The host would put back what the operator protects or the request names: say yes, and why.
function unlessKept(run, collection, code, message) {
  if (collection.protected) return included("protected", "The operator protects it.");
  if (run.kind === "collection" && collection.requested) return included("requested-by-name", "The request names it.");
  return { includeCollection: false, includeIndexFiles: false, priority: 0, reason: { code, message } };
}

function included(code, message, priority = 0) {
  return { includeCollection: true, includeIndexFiles: false, priority, reason: { code, message } };
}
