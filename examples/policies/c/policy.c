// The policy `tagged` (see ../README.md) in C.
//
// The host reads an answer after the function has returned, and then has its parts freed: whatever is answered lies on the
// heap, strings too.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "selection_policy.h"

typedef longshore_policy_types_run_t run_t;
typedef longshore_policy_types_collection_t collection_t;
typedef selection_policy_string_t string_t;
typedef selection_policy_list_tuple2_string_string_t pairs_t;
typedef exports_longshore_policy_selection_selected_t selected_t;
typedef exports_longshore_policy_selection_tuple2_item_id_selected_t decision_t;

static const char TAG[] = "backup";
static const uint64_t DAY_MS = UINT64_C(24) * 60 * 60 * 1000;
// A week less half a day: a weekly run that starts a little early is not put off for another week.
static const uint64_t WEEK_MS = UINT64_C(13) * 12 * 60 * 60 * 1000;

void exports_longshore_policy_about_describe(exports_longshore_policy_about_info_t *info) {
  selection_policy_string_dup(&info->name, "tagged");
  selection_policy_string_dup(&info->version, "0.1.0");
  selection_policy_string_dup(&info->author, "Longshore");
  selection_policy_string_dup(&info->description,
                              "Follows the tag `backup` of a collection: never, weekly or first.");
  selection_policy_string_dup(&info->settings_schema, "{\"type\":\"object\",\"additionalProperties\":false}");
}

static bool is(const string_t *string, const char *text) {
  return string->len == strlen(text) && memcmp(string->ptr, text, string->len) == 0;
}

// If a key is listed twice the last one counts.
static const string_t *value_of(const pairs_t *pairs, const char *key) {
  for (size_t at = pairs->len; at > 0; at--) {
    if (is(&pairs->ptr[at - 1].f0, key)) return &pairs->ptr[at - 1].f1;
  }
  return NULL;
}

static selected_t decided(bool include, int32_t priority, const char *code, const char *message) {
  selected_t selected = {.include_collection = include, .priority = priority};
  selection_policy_string_dup(&selected.reason.code, code);
  selection_policy_string_dup(&selected.reason.message, message);
  return selected;
}

static selected_t included(const char *code, const char *message) { return decided(true, 0, code, message); }

// The host would put back what the operator protects or the request names: say yes, and why.
static selected_t unless_kept(const run_t *run, const collection_t *collection, const char *code, const char *message) {
  if (collection->protected_) return included("protected", "The operator protects it.");
  if (run->kind == LONGSHORE_POLICY_TYPES_RUN_KIND_COLLECTION && collection->requested) {
    return included("requested-by-name", "The request names it.");
  }
  return decided(false, 0, code, message);
}

static selected_t weekly(const run_t *run, const collection_t *collection) {
  const uint64_t made_ms = collection->last_backup.val.time_ms;
  const uint64_t age_ms = collection->last_backup.is_some && run->time_ms > made_ms ? run->time_ms - made_ms : 0;
  if (run->trigger == LONGSHORE_POLICY_TYPES_RUN_TRIGGER_MANUAL || !collection->last_backup.is_some || age_ms >= WEEK_MS) {
    return included("weekly-due", "It is backed up once a week, and now is the time.");
  }
  char message[128];
  snprintf(message, sizeof message, "It is backed up once a week, and its last good backup is %" PRIu64 " days old.",
           age_ms / DAY_MS);
  return unless_kept(run, collection, "weekly-not-due", message);
}

static void warn_about(const collection_t *collection) {
  char line[512];
  const int length = snprintf(line, sizeof line, "The tag of %.*s.%.*s is none of never, weekly and first.",
                              (int)collection->database.len, (const char *)collection->database.ptr,
                              (int)collection->name.len, (const char *)collection->name.ptr);
  // A name that was cut could end inside a character, which is not text any more.
  if (length < 0 || (size_t)length >= sizeof line) return;
  string_t message = {.ptr = (uint8_t *)line, .len = (size_t)length};
  longshore_policy_host_log(LONGSHORE_POLICY_HOST_LEVEL_WARN, &message);
}

static selected_t decide(const run_t *run, const collection_t *collection, const string_t *tag) {
  if (is(tag, "never")) return unless_kept(run, collection, "tagged-never", "Its tag says that it is never backed up.");
  if (is(tag, "weekly")) return weekly(run, collection);
  if (is(tag, "first")) return decided(true, 10, "tagged-first", "Its tag says that it goes first.");
  // A misspelt tag must not leave anything out, and must not go unseen.
  warn_about(collection);
  return included("unknown-tag", "Its tag is none of never, weekly and first, so it goes in.");
}

// A collection without a tag gets no answer: no opinion, the next policy of the chain is asked. True is an answer, false
// would be a refusal of the whole run.
bool exports_longshore_policy_selection_select(run_t *run, exports_longshore_policy_selection_list_collection_t *page,
                                               exports_longshore_policy_selection_page_answer_t *answer,
                                               exports_longshore_policy_selection_refusal_t *refusal) {
  (void)refusal;
  answer->carry = (selection_policy_list_u8_t){0};
  answer->decisions.len = 0;
  answer->decisions.ptr = page->len == 0 ? NULL : malloc(page->len * sizeof(decision_t));
  if (page->len > 0 && answer->decisions.ptr == NULL) abort();
  for (size_t at = 0; at < page->len; at++) {
    const collection_t *collection = &page->ptr[at];
    const string_t *tag = value_of(&collection->properties, TAG);
    if (tag == NULL) tag = value_of(&collection->labels, TAG);
    if (tag == NULL) continue;
    answer->decisions.ptr[answer->decisions.len++] = (decision_t){collection->id, decide(run, collection, tag)};
  }
  return true;
}
