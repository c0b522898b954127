//! Properties of a policy that are seen by asking more than once.
//!
//! The same functions serve `fuzz`, which looks for a counterexample, and `test`, which plays one again: what `fuzz`
//! writes down fails in `test` for the same reason.

use longshore_model::{Codec, CodecChoice, CollectionName, PolicyKind, StreamFacts};

use crate::asked::{Asked, Choice, End, Item};
use crate::cases::{Goes, Monotone, Never, Then, When};
use crate::random::Random;
use crate::{Scenario, Subject};

/// A property that does not hold, and where that shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The item it shows at; `None` for the call as a whole.
    pub(crate) item: Option<Item>,
    /// What should be.
    pub(crate) expected: String,
    /// What is.
    pub(crate) found: String,
}

/// Asks again: everything must be the same, fuel, memory, carry and log included.
pub(crate) fn deterministic(subject: &Subject, scenario: &Scenario, first: &Asked) -> Option<Broken> {
    let again = subject.ask(first.kind, scenario);
    if let Some(broken) = same_answers(first, &again, true) {
        return Some(broken);
    }
    let whole = |what: &str, first: String, again: String| {
        let differ = first != again;
        differ.then(|| Broken { item: None, expected: format!("{what}: {first}"), found: format!("{what}: {again}") })
    };
    let fuel = |asked: &Asked| asked.fuel_used.map_or_else(|| "unknown".to_owned(), |fuel| fuel.to_string());
    let carried = |asked: &Asked| format!("{:02x?}", asked.carries.last().map(Vec::as_slice).unwrap_or_default());
    let log = |asked: &Asked| format!("{} lines", asked.log.len());
    whole("fuel", fuel(first), fuel(&again))
        .or_else(|| whole("memory", first.peak_memory_bytes.to_string(), again.peak_memory_bytes.to_string()))
        .or_else(|| whole("carry", carried(first), carried(&again)))
        .or_else(|| {
            (first.log != again.log).then(|| whole("log", log(first), format!("{}, others", log(&again)))).flatten()
        })
}

/// Asks with every page in other orders: the answer about each item must be the same.
pub(crate) fn order(subject: &Subject, scenario: &Scenario, first: &Asked) -> Option<Broken> {
    let mut random = Random::new(scenario.run.seed);
    let reversed = reorder(scenario, |page| page.reverse());
    let shuffled = reorder(scenario, |page| random.shuffle(page));
    [reversed, shuffled].iter().find_map(|scenario| same_answers(first, &subject.ask(first.kind, scenario), false))
}

/// The scenario with the places of every page arranged anew.
fn reorder(scenario: &Scenario, mut arrange: impl FnMut(&mut [usize])) -> Scenario {
    let mut places = |items: usize| {
        let mut places: Vec<usize> = (0..items).collect();
        places.chunks_mut(scenario.page_items.max(1)).for_each(&mut arrange);
        places
    };
    let mut other = scenario.clone();
    let pick = places(scenario.collections.len());
    other.collections = pick.into_iter().filter_map(|place| scenario.collections.get(place).cloned()).collect();
    let pick = places(scenario.streams.len());
    other.streams = pick.into_iter().filter_map(|place| scenario.streams.get(place).cloned()).collect();
    other
}

/// Compares two askings item by item, whatever their order. Messages of a refusal may name items in their order.
fn same_answers(first: &Asked, second: &Asked, messages_too: bool) -> Option<Broken> {
    let (End::Answered(_), End::Answered(_)) = (&first.end, &second.end) else {
        let short = |asked: &Asked| match &asked.end {
            End::Refused(refusal, about) if !messages_too => {
                let mut about: Vec<String> = about.iter().map(ToString::to_string).collect();
                about.sort();
                format!("refused: {} about {}", refusal.reason.code, about.join(", "))
            }
            // A message may name the milliseconds that were used.
            End::Failed(failure) => format!("error: {}", failure.code),
            _ => asked.ending(),
        };
        let (expected, found) = (short(first), short(second));
        return (expected != found).then_some(Broken { item: None, expected, found });
    };
    let mut answers: Vec<_> = second.answers().collect();
    answers.sort_by_key(|(item, _)| *item);
    first.answers().find_map(|(item, choice)| {
        let place = answers.binary_search_by_key(&item, |(item, _)| *item).ok()?;
        let (_, other) = answers.get(place)?;
        let broken = || Broken { item: Some(item.clone()), expected: words(choice), found: words(*other) };
        (choice != *other).then(broken)
    })
}

/// An answer in words, its reason included.
pub(crate) fn words(choice: Option<&Choice>) -> String {
    choice.map_or_else(
        || "no opinion".to_owned(),
        |choice| format!("{} ({}: {})", choice.describe(), choice.reason().code, choice.reason().message),
    )
}

/// Changes the fact of one collection and asks again: the decision about it must not go where it never goes.
pub(crate) fn monotone(
    subject: &Subject,
    scenario: &Scenario,
    first: &Asked,
    collection: &CollectionName,
    rule: &Monotone,
) -> Option<Broken> {
    let changed = change(scenario, collection, rule)?;
    let second = subject.ask(first.kind, &changed);
    let of_it = |asked: &Asked| -> Vec<(Item, Option<Choice>)> {
        let meant = asked.answers().filter(|(item, _)| item.collection == *collection);
        meant.map(|(item, choice)| (item.clone(), choice.cloned())).collect()
    };
    of_it(first).into_iter().zip(of_it(&second)).find_map(|((item, before), (_, after))| {
        let (from, to) = (number(rule.then, before.as_ref())?, number(rule.then, after.as_ref())?);
        let wrong = match rule.never {
            Never::Falls => to < from,
            Never::Rises => to > from,
            Never::Changes => to != from,
        };
        let (expected, found) = (words(before.as_ref()), words(after.as_ref()));
        wrong.then(|| Broken { item: Some(item), expected: format!("as before the change: {expected}"), found })
    })
}

/// A decision as a number; `None` where it cannot be compared.
fn number(then: Then, choice: Option<&Choice>) -> Option<i64> {
    if then == Then::Opinion {
        return Some(i64::from(choice.is_some()));
    }
    if then == Then::Selected && choice.is_none() {
        // A collection is in unless somebody says no.
        return Some(1);
    }
    match (then, choice?) {
        (Then::Selected, Choice::Selected(selected)) => Some(i64::from(selected.include_collection)),
        (Then::IndexFiles, Choice::Selected(selected)) => Some(i64::from(selected.include_index_files)),
        (Then::Priority, Choice::Selected(selected)) => Some(i64::from(selected.priority)),
        (Then::Compressed, Choice::Codec(CodecChoice { codec, .. })) => Some(i64::from(*codec != Codec::Store)),
        (Then::Copies, Choice::Placed(placed)) => i64::try_from(placed.copies.len()).ok(),
        (Then::RetentionDays, Choice::Placed(placed)) => placed.retention_days.map(i64::from),
        _ => None,
    }
}

/// The scenario after the fact has changed; `None` if it is not there to change, or cannot go further that way.
fn change(scenario: &Scenario, collection: &CollectionName, rule: &Monotone) -> Option<Scenario> {
    let by = rule.by.unwrap_or(1);
    let up = rule.goes == Goes::Up;
    let moved = |value: u64| if up { value.checked_add(by) } else { value.checked_sub(by) };
    let moved_time = |time: longshore_model::Timestamp| {
        let by = i64::try_from(by).ok()?;
        let moved = time.plus_millis(if up { by } else { -by });
        (moved != time).then_some(moved)
    };
    let mut changed = scenario.clone();
    let run = &mut changed.run;
    match rule.when {
        When::MonthSpendMicros => run.month_spend_micros = moved(run.month_spend_micros)?,
        When::MonthBudgetMicros => run.month_budget_micros = Some(moved(run.month_budget_micros?)?),
        _ => {}
    }
    let facts = changed.collections.iter_mut().find(|facts| facts.name == *collection)?;
    let mut streams: Vec<&mut StreamFacts> =
        changed.streams.iter_mut().filter(|stream| stream.collection == *collection).collect();
    match rule.when {
        When::MonthSpendMicros | When::MonthBudgetMicros => {}
        When::Rows => facts.rows = moved(facts.rows)?,
        When::SizeBytes => {
            facts.size_bytes.segment = moved(facts.size_bytes.segment)?;
            // Nothing can have more new bytes than bytes.
            facts.new_bytes = facts.new_bytes.min(facts.size_bytes.total());
            let segment = streams.iter_mut().find(|stream| stream.class == longshore_model::FileClass::Segment);
            if let Some(stream) = segment {
                stream.size_bytes = moved(stream.size_bytes)?;
                stream.new_bytes = stream.new_bytes.min(stream.size_bytes);
            }
        }
        When::NewBytes => {
            facts.new_bytes = moved(facts.new_bytes).filter(|new| *new <= facts.size_bytes.total())?;
            if let Some(stream) = streams.first_mut() {
                stream.new_bytes = moved(stream.new_bytes).unwrap_or(stream.new_bytes).min(stream.size_bytes);
            }
        }
        When::LastWrite => facts.last_write = Some(moved_time(facts.last_write?)?),
        When::Created => facts.created = Some(moved_time(facts.created?)?),
        When::LastBackup => {
            let last = facts.last_backup.as_mut()?;
            last.time = moved_time(last.time)?;
        }
        When::ConsecutiveFailures => {
            facts.consecutive_failures = u32::try_from(moved(facts.consecutive_failures.into())?).ok()?;
        }
        When::RecoveryPointObjectiveSeconds => {
            facts.recovery_point_objective_seconds = Some(moved(facts.recovery_point_objective_seconds?)?);
        }
        When::Protected if facts.protected != up => facts.protected = up,
        When::Requested if facts.requested != up => facts.requested = up,
        When::Protected | When::Requested => return None,
        When::Ratio => {
            let offers = streams.iter_mut().flat_map(|stream| &mut stream.offers);
            for offer in offers.filter(|offer| offer.codec != Codec::Store) {
                offer.ratio_thousandths = u32::try_from(moved(offer.ratio_thousandths.into())?).ok()?;
            }
        }
    }
    changed.run.totals = crate::scenario::totals(&changed.collections);
    Some(changed)
}

/// Kinds that a rule is about, of those that a plugin serves.
pub(crate) fn kinds_of(then: Then, served: &[PolicyKind]) -> Vec<PolicyKind> {
    served.iter().copied().filter(|kind| then.kind().is_none_or(|own| own == *kind)).collect()
}
