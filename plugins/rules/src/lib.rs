//! Decides by rules in TOML files, which are read from a directory that the operator grants.
//!
//! The host reads the granted files once per run and keeps them with the decision records, so a decision can be asked
//! again after the files have changed. The first rule that means an item and says something about the question decides; an
//! item that no rule means is left to the next policy. A file that cannot be read refuses the run: rules that are not
//! followed are worse than no backup that somebody notices.

mod apply;
mod condition;
mod read;
mod rule;
mod settings;

pub use read::Rules;
pub use settings::Settings;

use longshore_plugin::{
    About, Answer, CodecChoice, Collection, CompressionPolicy, Placed, PlacementPolicy, Plugin, Refusal, Region, Run,
    Selected, SelectionPolicy, Stream,
};

/// The policy. The type has a name of its own so that [`Rules`] can be what is read.
#[derive(Debug)]
pub struct RulesPolicy;

impl Plugin for RulesPolicy {
    fn about() -> About {
        About {
            name: "rules",
            version: env!("CARGO_PKG_VERSION"),
            author: "Longshore",
            description: "Decides by rules in TOML files of a granted directory.",
            settings_schema: include_str!("settings.schema.json"),
        }
    }
}

impl SelectionPolicy for RulesPolicy {
    fn select(run: &Run, page: &[Collection]) -> Result<Answer<Selected>, Refusal> {
        let rules = Rules::of(run)?;
        Ok(page.iter().filter_map(|collection| Some((collection.id, rules.select(run, collection)?))).collect())
    }
}

impl CompressionPolicy for RulesPolicy {
    fn choose(run: &Run, streams: &[Stream]) -> Result<Answer<CodecChoice>, Refusal> {
        let rules = Rules::of(run)?;
        Ok(streams.iter().filter_map(|stream| Some((stream.id, rules.choose(run, stream)?))).collect())
    }
}

impl PlacementPolicy for RulesPolicy {
    fn place(run: &Run, collections: &[Collection], regions: &[Region]) -> Result<Answer<Placed>, Refusal> {
        let rules = Rules::of(run)?;
        let place = |collection| -> Result<_, Refusal> {
            Ok(rules.place(run, collection, regions)?.map(|placed| (collection.id, placed)))
        };
        collections.iter().filter_map(|collection| place(collection).transpose()).collect()
    }
}

longshore_plugin::export!(RulesPolicy: selection, compression, placement);
