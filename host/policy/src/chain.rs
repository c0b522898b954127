//! How the opinions of a chain become one decision per item.

use std::sync::Arc;

use longshore_model::{CollectionFacts, Placed, RunFacts, Selected};

use crate::ledger::{Ledger, Opinions};
use crate::member::AcceptedMember;
use crate::question::{Asking, Compressing, Placing, Selecting};
use crate::{
    CompressionPlan, DecidedBy, Decision, DecisionRecord, Guardrails, Limits, OtherOpinion, PlacementPlan, Plan,
    PolicyError, SelectionPlan,
};

/// Items in the order of the contract, cut into pages, with the places they came from.
struct Sorted<T> {
    pages: Vec<Arc<[T]>>,
    places: Vec<usize>,
}

/// Sorts items by (database, collection, class) and copies each once, by `asked`, into its page: facts are the bulk of a
/// run's memory, and moving them about costs as much as deciding. Two items of one name are a mistake of the caller: their
/// decisions could not be told apart.
fn sorted<Q: Asking>(
    items: &[Q::Item],
    asked: impl Fn(&Q::Item) -> Q::Item,
    limits: &Limits,
) -> Result<Sorted<Q::Item>, PolicyError> {
    if items.len() > limits.run_items {
        return Err(PolicyError::TooManyItems { kind: Q::KIND, found: items.len(), limit: limits.run_items });
    }
    let mut numbered: Vec<(usize, &Q::Item)> = items.iter().enumerate().collect();
    numbered.sort_by(|(_, one), (_, two)| Q::key(one).cmp(&Q::key(two)));
    for pair in numbered.windows(2) {
        if let [(_, one), (_, two)] = pair
            && Q::key(one) == Q::key(two)
        {
            return Err(PolicyError::DuplicateItem { kind: Q::KIND, item: Q::name(two) });
        }
    }
    let pages = numbered.chunks(page_items(limits)).map(|page| page.iter().map(|(_, item)| asked(item)).collect());
    Ok(Sorted { pages: pages.collect(), places: numbered.iter().map(|(place, _)| *place).collect() })
}

/// Items of one page.
fn page_items(limits: &Limits) -> usize {
    limits.page_items.clamp(1, longshore_model::Limits::DEFAULT.page_items)
}

/// The items of pages, in order.
fn all<T>(pages: &[Arc<[T]>]) -> impl Iterator<Item = &T> {
    pages.iter().flat_map(|page| page.iter())
}

/// Puts decisions back into the order of the request and closes the ledger.
fn plan<T>(
    kind: longshore_model::PolicyKind,
    places: Vec<usize>,
    decisions: Vec<Decision<T>>,
    mut ledger: Ledger<'_>,
) -> Plan<T> {
    let decisions = if places.is_sorted() {
        decisions
    } else {
        let mut numbered: Vec<(usize, Decision<T>)> = places.into_iter().zip(decisions).collect();
        numbered.sort_by_key(|(place, _)| *place);
        numbered.into_iter().map(|(_, decision)| decision).collect()
    };
    let records = ledger.taken_records();
    Plan { kind, decisions, records, skipped: ledger.skipped, usage: ledger.usage }
}

fn no_opinion<Q: Asking>(chain: &[AcceptedMember], item: &Q::Item) -> PolicyError {
    let asked = chain.iter().map(|member| member.member.name.clone()).collect();
    PolicyError::NoOpinion { kind: Q::KIND, item: Q::name(item), asked }
}

/// What was decided about one item, before guardrails.
struct Opinion<'a, Q: Asking> {
    item: &'a Q::Item,
    by: Arc<DecidedBy>,
    answer: Q::Answer,
}

/// The first opinion about an item, once there is one.
type FirstOpinion<T> = Option<(Arc<DecidedBy>, T)>;

/// Asks one member after the other, each only about what nobody before had an opinion on.
fn first_opinions<'a, Q: Asking>(
    asking: &Q,
    chain: &[AcceptedMember],
    whole: &'a [Arc<[Q::Item]>],
    limits: &Limits,
    ledger: &mut Ledger<'_>,
) -> Result<Vec<Opinion<'a, Q>>, PolicyError> {
    let mut decided: Vec<(&'a Q::Item, FirstOpinion<Q::Answer>)> = all(whole).map(|item| (item, None)).collect();
    for member in chain {
        let left: Vec<&Q::Item> = decided.iter().filter(|(_, slot)| slot.is_none()).map(|(item, _)| *item).collect();
        let opinions = if left.is_empty() {
            break;
        } else if left.len() == decided.len() {
            ledger.ask_member(asking, member, whole)?
        } else {
            let pages: Vec<Arc<[Q::Item]>> =
                left.chunks(page_items(limits)).map(|page| page.iter().copied().cloned().collect()).collect();
            ledger.ask_member(asking, member, &pages)?
        };
        let by = Arc::new(member.identity());
        // `left` was taken from the open slots in order, so opinions go back to them in the same order.
        let open = decided.iter_mut().filter(|(_, slot)| slot.is_none());
        for ((_, slot), opinion) in open.zip(opinions.unwrap_or_default()) {
            *slot = opinion.map(|answer| (Arc::clone(&by), answer));
        }
    }
    let opinions = decided.into_iter().map(|(item, slot)| match slot {
        Some((by, answer)) => Ok(Opinion { item, by, answer }),
        None => Err(no_opinion::<Q>(chain, item)),
    });
    opinions.collect()
}

/// Decides which collections go in.
pub(crate) fn select(
    chain: &[AcceptedMember],
    run: &RunFacts,
    collections: &[CollectionFacts],
    guardrails: &Guardrails,
    limits: &Limits,
    asked: &mut Vec<DecisionRecord>,
) -> Result<SelectionPlan, PolicyError> {
    if run.kind == longshore_model::RunKind::Collection
        && let Some(stranger) = collections.iter().find(|collection| !collection.requested)
    {
        return Err(PolicyError::NotRequested { collection: stranger.name.clone() });
    }
    let flag = |collection: &CollectionFacts| flagged(collection, guardrails);
    let Sorted { pages: whole, places } = sorted::<Selecting>(collections, flag, limits)?;
    let mut ledger = Ledger::new(run, limits, asked);
    let mut voices: Vec<(Arc<DecidedBy>, Opinions<Selected>)> = Vec::new();
    for member in chain {
        if let Some(opinions) = ledger.ask_member(&Selecting, member, &whole)? {
            voices.push((Arc::new(member.identity()), opinions));
        }
    }
    let mut decisions = Vec::with_capacity(places.len());
    for (at, item) in all(&whole).enumerate() {
        let heard = voices.iter().filter_map(|(by, opinions)| Some((by, opinions.get(at)?.as_ref()?)));
        let decision = combine(run, item, &heard.collect::<Vec<_>>(), guardrails);
        decisions.push(decision.ok_or_else(|| no_opinion::<Selecting>(chain, item))?);
    }
    Ok(plan(Selecting::KIND, places, decisions, ledger))
}

/// In only if nobody says no, unless a guardrail keeps it in. Index files and priority come from the first who wants it.
fn combine(
    run: &RunFacts,
    item: &CollectionFacts,
    heard: &[(&Arc<DecidedBy>, &Selected)],
    guardrails: &Guardrails,
) -> Option<Decision<Selected>> {
    let (first_by, first) = *heard.first()?;
    let no = heard.iter().find(|(_, answer)| !answer.include_collection);
    let (by, answer) = no.copied().unwrap_or((first_by, first));
    let wanted = answer.include_collection;
    let (value, overridden) = match guardrails.keep_in(run, item) {
        Some(rule) if !wanted => {
            let yes = heard.iter().find(|(_, answer)| answer.include_collection);
            let flags = yes.map_or(answer, |(_, answer)| *answer);
            let (value, overridden) = Guardrails::put_back(rule, answer.clone(), flags);
            (value, Some(overridden))
        }
        _ => (answer.clone(), None),
    };
    let others = heard.iter().filter(|(other, _)| other.member != by.member).map(|(other, answer)| OtherOpinion {
        member: other.member.clone(),
        agrees: answer.include_collection == wanted,
        reason: answer.reason.clone(),
    });
    Some(Decision {
        collection: item.name.clone(),
        class: None,
        value,
        decided_by: Arc::clone(by),
        overridden,
        others: others.collect(),
    })
}

/// Facts as a policy sees them: `protected` says what the guardrails would say.
fn flagged(collection: &CollectionFacts, guardrails: &Guardrails) -> CollectionFacts {
    CollectionFacts { protected: guardrails.protects(collection), ..collection.clone() }
}

/// Decides how streams are compressed. Every codec that exists is lossless, so there is no guardrail beyond the offers.
pub(crate) fn choose(
    chain: &[AcceptedMember],
    run: &RunFacts,
    streams: &[longshore_model::StreamFacts],
    limits: &Limits,
    asked: &mut Vec<DecisionRecord>,
) -> Result<CompressionPlan, PolicyError> {
    if let Some(stream) = streams.iter().find(|stream| stream.offers.is_empty()) {
        return Err(PolicyError::NoOffers { item: Compressing::name(stream) });
    }
    let Sorted { pages: whole, places } = sorted::<Compressing>(streams, Clone::clone, limits)?;
    let mut ledger = Ledger::new(run, limits, asked);
    let opinions = first_opinions(&Compressing, chain, &whole, limits, &mut ledger)?;
    let decisions = opinions.into_iter().map(|opinion| Decision {
        collection: opinion.item.collection.clone(),
        class: Some(opinion.item.class),
        value: opinion.answer,
        decided_by: opinion.by,
        overridden: None,
        others: Vec::new(),
    });
    Ok(plan(Compressing::KIND, places, decisions.collect(), ledger))
}

/// Decides where collections are kept.
pub(crate) fn place(
    chain: &[AcceptedMember],
    run: &RunFacts,
    collections: &[CollectionFacts],
    regions: &[longshore_model::RegionOffer],
    guardrails: &Guardrails,
    limits: &Limits,
    asked: &mut Vec<DecisionRecord>,
) -> Result<PlacementPlan, PolicyError> {
    let flag = |collection: &CollectionFacts| flagged(collection, guardrails);
    let Sorted { pages: whole, places } = sorted::<Placing>(collections, flag, limits)?;
    let asking = Placing { regions: guardrails.offer(regions)?.into() };
    let mut ledger = Ledger::new(run, limits, asked);
    let opinions = first_opinions(&asking, chain, &whole, limits, &mut ledger)?;
    let decisions = opinions.into_iter().map(|opinion| {
        let (value, overridden): (Placed, _) = guardrails.retain(run, opinion.answer);
        let (collection, decided_by) = (opinion.item.name.clone(), opinion.by);
        Decision { collection, class: None, value, decided_by, overridden, others: Vec::new() }
    });
    Ok(plan(Placing::KIND, places, decisions.collect(), ledger))
}
