//! Whether an answer is one the contract allows.
//!
//! Contract: what comes out of here names only items, codecs and regions of its own call, each item at most once, and
//! its texts are short and safe to show. Anything else fails the whole call with a sentence that names the item: a
//! half-understood answer must not decide what is backed up. Items without an answer are fine.

use longshore_model::{
    Codec, CodecChoice, CollectionFacts, Copy, Placed, Reason, Refusal, RegionId, RegionOffer, Selected, StreamFacts,
};

use crate::Limits;
use crate::text::{holds_unsafe, quoted};

/// What came back from a plugin: a page of answers, or its refusal.
pub(crate) type Reply<A> = Result<Page<A>, Refusal>;

/// Answers to one page as the plugin gave them.
#[derive(Debug)]
pub(crate) struct Page<A> {
    /// Answers by number of item.
    pub(crate) decisions: Vec<(u32, A)>,
    /// What it wants to be told on the next page.
    pub(crate) carry: Vec<u8>,
}

/// A codec by the name the plugin gave.
#[derive(Debug)]
pub(crate) struct GivenCodec {
    pub(crate) codec: String,
    pub(crate) reason: Reason,
}

/// A placement by the names the plugin gave.
#[derive(Debug)]
pub(crate) struct GivenPlaced {
    pub(crate) region: String,
    pub(crate) copies: Vec<(String, Option<u32>)>,
    pub(crate) retention_days: Option<u32>,
    pub(crate) reason: Reason,
}

/// What is wrong with an answer, as part of a sentence.
type Wrong = String;

/// A checked page: decisions in order of item, and the carry.
type Checked<T> = Result<(Vec<(u32, T)>, Vec<u8>), Wrong>;

/// Checks a selection.
pub(crate) fn selection(page: Page<Selected>, asked: &[CollectionFacts], limits: &Limits) -> Checked<Selected> {
    each(
        page,
        asked,
        |facts| facts.name.to_string(),
        limits,
        |_, selected: Selected| {
            reason(&selected.reason, limits)?;
            Ok(selected)
        },
    )
}

/// Checks choices of codecs against what was offered for each stream.
pub(crate) fn compression(page: Page<GivenCodec>, asked: &[StreamFacts], limits: &Limits) -> Checked<CodecChoice> {
    let name = |facts: &StreamFacts| format!("{} of {}", facts.class, facts.collection);
    each(page, asked, name, limits, |facts, given: GivenCodec| {
        reason(&given.reason, limits)?;
        // One spelling per codec, so the parsed value says as much as the text, and costs less than spelling out every offer.
        let codec: Option<Codec> = given.codec.parse().ok();
        let offer = facts.offers.iter().find(|offer| Some(offer.codec) == codec);
        let Some(offer) = offer else {
            let offered: Vec<String> = facts.offers.iter().map(|offer| offer.codec.to_string()).collect();
            return Err(format!("codec {} was not offered, only {}", quoted(&given.codec), offered.join(", ")));
        };
        Ok(CodecChoice { codec: offer.codec, reason: given.reason })
    })
}

/// Checks placements against the regions that were offered.
pub(crate) fn placement(
    page: Page<GivenPlaced>,
    asked: &[CollectionFacts],
    regions: &[RegionOffer],
    limits: &Limits,
) -> Checked<Placed> {
    each(
        page,
        asked,
        |facts| facts.name.to_string(),
        limits,
        |_, given: GivenPlaced| {
            reason(&given.reason, limits)?;
            let region = offered(&given.region, regions)?;
            retention(given.retention_days)?;
            if given.copies.len() > limits.copies {
                return Err(format!("it asks for {} copies, and {} are allowed", given.copies.len(), limits.copies));
            }
            let mut copies: Vec<Copy> = Vec::with_capacity(given.copies.len());
            for (name, retention_days) in given.copies {
                let copy = offered(&name, regions)?;
                retention(retention_days)?;
                if copy == region || copies.iter().any(|other| other.region == copy) {
                    return Err(format!("region {} is named twice for it", quoted(&name)));
                }
                copies.push(Copy { region: copy, retention_days });
            }
            Ok(Placed { region, copies, retention_days: given.retention_days, reason: given.reason })
        },
    )
}

/// Checks a refusal: its reason, and that its items are of the call.
pub(crate) fn refusal(refusal: Refusal, asked: usize, limits: &Limits) -> Result<Refusal, Wrong> {
    reason(&refusal.reason, limits).map_err(|wrong| format!("in its refusal, {wrong}"))?;
    if refusal.items.len() > asked {
        return Err(format!("its refusal names {} items, and it was asked about {asked}", refusal.items.len()));
    }
    match refusal.items.iter().find(|id| usize::try_from(**id).map_or(true, |place| place >= asked)) {
        Some(id) => Err(format!("its refusal names item {id}, which it was not asked about")),
        None => Ok(refusal),
    }
}

/// Checks ids, carry and every decision of a page; gives the decisions in order of item.
fn each<Item, Given, Decision>(
    page: Page<Given>,
    asked: &[Item],
    name: impl Fn(&Item) -> String,
    limits: &Limits,
    check: impl Fn(&Item, Given) -> Result<Decision, Wrong>,
) -> Checked<Decision> {
    if page.carry.len() > limits.carry_bytes {
        return Err(format!("its carry has {} bytes, and {} are allowed", page.carry.len(), limits.carry_bytes));
    }
    let mut decisions: Vec<Option<Decision>> = asked.iter().map(|_| None).collect();
    for (id, given) in page.decisions {
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        let (Some(item), Some(slot)) = (asked.get(place), decisions.get_mut(place)) else {
            return Err(format!("it answers about item {id}, which it was not asked about"));
        };
        if slot.is_some() {
            return Err(format!("it answers twice about item {id} ({})", name(item)));
        }
        *slot = Some(check(item, given).map_err(|wrong| format!("about item {id} ({}), {wrong}", name(item)))?);
    }
    let decided = (0_u32..).zip(decisions).filter_map(|(id, decision)| decision.map(|decision| (id, decision)));
    Ok((decided.collect(), page.carry))
}

fn offered(name: &str, regions: &[RegionOffer]) -> Result<RegionId, Wrong> {
    regions.iter().find(|offer| offer.id.as_str() == name).map(|offer| offer.id.clone()).ok_or_else(|| {
        let offered: Vec<&str> = regions.iter().map(|offer| offer.id.as_str()).take(10).collect();
        format!("region {} was not offered, only {}", quoted(name), offered.join(", "))
    })
}

fn retention(days: Option<u32>) -> Result<(), Wrong> {
    match days {
        Some(0) => Err("a retention of 0 days would keep nothing".to_owned()),
        _ => Ok(()),
    }
}

/// Checks the form of a reason.
fn reason(reason: &Reason, limits: &Limits) -> Result<(), Wrong> {
    let Reason { code, message } = reason;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if code.is_empty() || code.len() > limits.reason_code_bytes || !code.bytes().all(plain) {
        let (most, code) = (limits.reason_code_bytes, quoted(code));
        return Err(format!("the reason code {code} is not 1 to {most} lower case letters, digits and hyphens"));
    }
    if message.trim().is_empty() {
        return Err(format!("the reason {} has no message", quoted(code)));
    }
    if message.len() > limits.reason_message_bytes {
        let (bytes, most) = (message.len(), limits.reason_message_bytes);
        return Err(format!("the message of reason {} has {bytes} bytes, and {most} are allowed", quoted(code)));
    }
    if holds_unsafe(message) {
        return Err(format!("the message of reason {} holds control characters: {}", quoted(code), quoted(message)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use longshore_model::{CollectionFacts, CollectionName, Reason, Refusal, RegionHealth, RegionOffer, Selected};
    use proptest::prelude::*;

    use super::{GivenPlaced, Page, placement, reason, refusal, selection};
    use crate::Limits;

    fn asked(count: usize) -> Vec<CollectionFacts> {
        let named = |number| CollectionFacts::named(CollectionName::new("db", &format!("c{number}")).unwrap());
        (0..count).map(named).collect()
    }

    fn selected() -> Selected {
        let reason = Reason::new("because", "It is so.");
        Selected { include_collection: true, include_index_files: false, priority: 0, reason }
    }

    fn regions() -> Vec<RegionOffer> {
        let offer = |id: &str| RegionOffer {
            id: id.parse().unwrap(),
            provider: String::new(),
            jurisdiction: String::new(),
            home: false,
            storage_price_micros_per_gb_month: 0,
            transfer_price_micros_per_gb: 0,
            health: RegionHealth::Healthy,
            used_bytes: 0,
            extra: Vec::new(),
        };
        vec![offer("a"), offer("b"), offer("c")]
    }

    /// The wrong of one placement, or what it came to.
    fn place(region: &str, copies: &[(&str, Option<u32>)], days: Option<u32>) -> Result<String, String> {
        let given = GivenPlaced {
            region: region.to_owned(),
            copies: copies.iter().map(|(region, days)| ((*region).to_owned(), *days)).collect(),
            retention_days: days,
            reason: Reason::new("because", "It is so."),
        };
        let page = Page { decisions: vec![(0, given)], carry: Vec::new() };
        let (placed, _) = placement(page, &asked(1), &regions(), &Limits::DEFAULT)?;
        Ok(placed.iter().map(|(_, placed)| format!("{} {}", placed.region, placed.copies.len())).collect())
    }

    proptest! {
        #[test]
        fn a_page_is_accepted_exactly_if_each_item_is_answered_at_most_once(
            count in 0_usize..6, ids in prop::collection::vec(0_u32..7, 0..6)
        ) {
            let page = Page { decisions: ids.iter().map(|id| (*id, selected())).collect(), carry: vec![1] };
            let result = selection(page, &asked(count), &Limits::DEFAULT);
            let distinct: BTreeSet<u32> = ids.iter().copied().collect();
            let known = ids.iter().all(|id| usize::try_from(*id).unwrap() < count);
            prop_assert_eq!(result.is_ok(), known && distinct.len() == ids.len());
            if let Ok((decisions, carry)) = result {
                let answered: Vec<u32> = decisions.iter().map(|(id, _)| *id).collect();
                prop_assert_eq!(answered, distinct.into_iter().collect::<Vec<_>>());
                prop_assert_eq!(carry, vec![1]);
            }
        }
    }

    #[test]
    fn a_placement_names_each_offered_region_once_and_keeps_for_a_day_at_least() {
        assert_eq!(place("a", &[("b", None), ("c", Some(1))], Some(1)).unwrap(), "a 2");
        for (region, copies, days, wrong) in [
            ("d", &[][..], None, "`d` was not offered"),
            ("a", &[("d", None)], None, "`d` was not offered"),
            ("a", &[("a", None)], None, "`a` is named twice"),
            ("a", &[("b", None), ("b", None)], None, "`b` is named twice"),
            ("a", &[], Some(0), "retention of 0 days"),
            ("a", &[("b", Some(0))], None, "retention of 0 days"),
            ("a", &[("b", None); 65], None, "65 copies"),
        ] {
            let said = place(region, copies, days).unwrap_err();
            assert!(said.contains(wrong) && said.starts_with("about item 0 (db.c0), "), "{said}");
        }
    }

    #[test]
    fn reasons_have_a_plain_code_and_one_short_line() {
        let check = |code: &str, message: &str| reason(&Reason::new(code, message), &Limits::DEFAULT);
        check("ok-1", "Größer als sonst.").unwrap();
        check(&"a".repeat(64), &"b".repeat(512)).unwrap();
        for code in ["", "Code", "a b", "a_b", "ä", "a\n", &"a".repeat(65)] {
            assert!(check(code, "fine").unwrap_err().contains("reason code"), "{code:?}");
        }
        for message in ["", "  ", "two\nlines", "\u{202e}txet", "\u{7f}", &"b".repeat(513)] {
            assert!(check("ok", message).unwrap_err().contains("message"), "{message:?}");
        }
    }

    #[test]
    fn a_refusal_is_about_items_of_the_call() {
        let check = |items: &[u32], asked| {
            refusal(Refusal { reason: Reason::new("no", "No."), items: items.to_vec() }, asked, &Limits::DEFAULT)
        };
        assert_eq!(check(&[1, 0], 2).unwrap().items, [1, 0]);
        check(&[], 0).unwrap();
        assert!(check(&[2], 2).unwrap_err().contains("not asked about"));
        assert!(check(&[0, 0, 0], 2).unwrap_err().contains("3 items"));
    }
}
