//! A policy that misbehaves as its settings say, in every way a host has to survive. For the tests of the host; never
//! shipped. Where it does not misbehave it is honest: it takes everything, stores it as it is, in the home region.

mod behaviour;
mod probe;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use behaviour::{Behaviour, Kind, Settings};
use longshore_plugin::{
    About, Answer, CodecChoice, Collection, CompressionPolicy, ItemId, Placed, PlacementPolicy, Plugin, Reason,
    Refusal, Region, Run, Selected, SelectionPolicy, Stream,
};

/// The policy.
#[derive(Debug)]
pub struct Hostile;

impl Plugin for Hostile {
    fn about() -> About {
        About {
            name: "hostile",
            version: env!("CARGO_PKG_VERSION"),
            author: "Longshore",
            description: "Misbehaves as its settings say, for the tests of the host.",
            settings_schema: include_str!("settings.schema.json"),
        }
    }
}

longshore_plugin::export!(Hostile: selection, compression, placement);

impl SelectionPolicy for Hostile {
    fn select(run: &Run, page: &[Collection]) -> Result<Answer<Selected>, Refusal> {
        let settings = Settings::of(run, Kind::Selection)?;
        let decide = |_: &Collection, reason| match settings.behaviour {
            Behaviour::ExcludeAll => Selected::excluded(reason),
            _ => Selected::included(reason),
        };
        answer(&settings, run, page, |collection| collection.id, decide)
    }
}

impl CompressionPolicy for Hostile {
    fn choose(run: &Run, streams: &[Stream]) -> Result<Answer<CodecChoice>, Refusal> {
        let settings = Settings::of(run, Kind::Compression)?;
        let decide = |stream: &Stream, reason| {
            let honest = stream.offer("store").or(stream.offers.first());
            let codec = match settings.behaviour {
                Behaviour::UnknownCodec => "quantum-9".into(),
                _ => honest.map(|offer| offer.codec.clone()).unwrap_or_default(),
            };
            CodecChoice { codec, reason }
        };
        answer(&settings, run, streams, |stream| stream.id, decide)
    }
}

impl PlacementPolicy for Hostile {
    fn place(run: &Run, collections: &[Collection], regions: &[Region]) -> Result<Answer<Placed>, Refusal> {
        let settings = Settings::of(run, Kind::Placement)?;
        let home = regions.iter().find(|region| region.home).or(regions.first());
        let region = match settings.behaviour {
            Behaviour::UnknownRegion => "moon-north-1".to_owned(),
            _ => home.map(|region| region.id.clone()).unwrap_or_default(),
        };
        let decide = |_: &Collection, reason| Placed::in_region(region.clone(), reason);
        answer(&settings, run, collections, |collection| collection.id, decide)
    }
}

/// The answer to a page: what every kind has in common.
fn answer<Item, Decision: Clone>(
    settings: &Settings,
    run: &Run,
    items: &[Item],
    id: impl Fn(&Item) -> ItemId,
    decide: impl Fn(&Item, Reason) -> Decision,
) -> Result<Answer<Decision>, Refusal> {
    let reason = reason(settings, run)?;
    let mut answer: Answer<Decision> = items.iter().map(|item| (id(item), decide(item, reason.clone()))).collect();
    let Some(first) = answer.decisions.first().cloned() else { return Ok(answer) };
    match settings.behaviour {
        Behaviour::AnswerTwice => answer.decisions.push(first),
        Behaviour::AnswerUnknown => {
            let unknown = items.iter().map(&id).max().unwrap_or(0).wrapping_add(1_000_000);
            answer.decisions.push((unknown, first.1));
        }
        Behaviour::AnswerNothing => answer.decisions.clear(),
        Behaviour::HugeAnswer => answer.decisions = vec![first; settings.count_or(200_000)],
        Behaviour::HugeCarry => answer.carry = vec![7; settings.size_or(1 << 20)],
        Behaviour::Carry => answer.carry = pages_so_far(run).to_le_bytes().to_vec(),
        _ => {}
    }
    Ok(answer)
}

/// The reason of every decision. The behaviours that end a call, or want to, do it here.
fn reason(settings: &Settings, run: &Run) -> Result<Reason, Refusal> {
    let message = match settings.behaviour {
        Behaviour::Refuse => return Err(Refusal::new("hostile-refusal", "This policy refuses, as it was told to.")),
        Behaviour::Panic => behaviour::panic_now(),
        Behaviour::Loop => behaviour::loop_for_ever(run.seed),
        Behaviour::Sleep => behaviour::sleep_for_an_hour(),
        Behaviour::DeepRecursion => format!("Recursion ended at {}.", behaviour::recurse(run.seed)),
        Behaviour::EatMemory => behaviour::eat_memory(),
        Behaviour::FloodLog => behaviour::flood_log(settings.count_or(10_000), settings.size_or(1_000)),
        Behaviour::FloodStdio => behaviour::flood_stdio(settings.count_or(10_000), settings.size_or(1_000)),
        Behaviour::ReadClockAndRandom => probe::clock_and_random(RandomState::new().hash_one("longshore")),
        Behaviour::ReadFile => probe::files(),
        Behaviour::ReadGranted => probe::granted(Path::new("/rules")),
        Behaviour::Network => probe::network(),
        Behaviour::Carry => format!("This is page {} by the count in carry.", pages_so_far(run)),
        // Not Reason::new, which would make one line of it.
        Behaviour::ControlCharacters => {
            return Ok(Reason { code: "hostile".to_owned(), message: behaviour::control_characters() });
        }
        // Nor here: it would cut it.
        Behaviour::HugeReason => {
            return Ok(Reason { code: "hostile".to_owned(), message: "a".repeat(settings.size_or(1 << 20)) });
        }
        _ => "Honest.".to_owned(),
    };
    Ok(Reason::new("hostile", message))
}

/// Pages of this kind so far, this one included, as counted in `carry`.
fn pages_so_far(run: &Run) -> u32 {
    run.carry.first_chunk().map_or(0, |count| u32::from_le_bytes(*count)).wrapping_add(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn ask(settings: &str) -> Result<Answer<Selected>, Refusal> {
        let page = [Collection::named(1, "default", "docs"), Collection::named(2, "default", "notes")];
        Hostile::select(&Run::default().with_settings(settings), &page)
    }

    #[test]
    fn it_does_what_its_settings_say() {
        assert!(ask(r#"{"behaviour":"honest"}"#).unwrap().get(2).unwrap().include_collection);
        assert!(!ask(r#"{"behaviour":"exclude-all"}"#).unwrap().get(2).unwrap().include_collection);
        assert_eq!(ask(r#"{"behaviour":"refuse"}"#).unwrap_err().reason.code, "hostile-refusal");
        let ids = |settings| ask(settings).unwrap().decisions.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids(r#"{"behaviour":"answer-twice"}"#), [1, 2, 1]);
        assert_eq!(ids(r#"{"behaviour":"answer-unknown"}"#), [1, 2, 1_000_002]);
        assert!(ids(r#"{"behaviour":"answer-nothing"}"#).is_empty());
        assert_eq!(ids(r#"{"behaviour":"huge-answer","count":4}"#), [1, 1, 1, 1]);
        assert_eq!(ask(r#"{"behaviour":"huge-carry","size_bytes":65537}"#).unwrap().carry.len(), 65_537);
        let huge = ask(r#"{"behaviour":"huge-reason","size_bytes":513}"#).unwrap();
        assert_eq!(huge.get(1).unwrap().reason.message.len(), 513);
    }

    #[test]
    fn it_is_honest_for_the_other_kinds_and_pages() {
        assert_eq!(ask(r#"{"behaviour":"refuse","kind":"placement"}"#).unwrap().decisions.len(), 2);
        assert_eq!(ask(r#"{"behaviour":"refuse","page_number":1}"#).unwrap().decisions.len(), 2);
        assert!(ask(r#"{"behaviour":"refuse","kind":"selection","page_number":0}"#).is_err());
    }

    #[test]
    fn carry_counts_the_pages() {
        let mut run = Run::default().with_settings(r#"{"behaviour":"carry"}"#);
        for page_number in 1..=3_u32 {
            let answer = Hostile::select(&run, &[Collection::default()]).unwrap();
            assert_eq!(
                answer.get(0).unwrap().reason.message,
                format!("This is page {page_number} by the count in carry.")
            );
            run.carry = answer.carry;
        }
    }

    #[test]
    fn every_behaviour_of_the_schema_is_known() {
        let schema = Hostile::about().settings_schema;
        let names = schema.split("\"enum\": [").nth(1).unwrap().split(']').next().unwrap();
        let names: Vec<&str> = names.split('"').skip(1).step_by(2).collect();
        assert!(names.len() > 20);
        for name in names {
            let run = Run::default().with_settings(format!(r#"{{"behaviour":"{name}"}}"#));
            assert!(run.settings::<Settings>().is_ok(), "{name}");
        }
    }
}
