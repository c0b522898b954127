//! A scenario: everything a plugin is told when it is asked. Plain values; [`crate::cases`] reads them from TOML.

use longshore_model::{CollectionFacts, RegionOffer, RunFacts, StreamFacts, Totals};
use longshore_policy::GrantedFiles;
use longshore_sandbox::Budget;

use crate::PolicyTestError;
use crate::cases::CaseFile;

/// An inventory, a run, settings and a budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The plugin's settings: a JSON object.
    pub settings: serde_json::Value,
    /// What one call may use; that of the plugin when it says nothing.
    pub budget: Option<Budget>,
    /// The files it may read.
    pub files: GrantedFiles,
    /// Items on a page, 1 to 1,000.
    pub page_items: usize,
    /// Facts about the run.
    pub run: RunFacts,
    /// The collections, in order of (database, name).
    pub collections: Vec<CollectionFacts>,
    /// Their streams, in order of (database, name, class).
    pub streams: Vec<StreamFacts>,
    /// The regions on offer.
    pub regions: Vec<RegionOffer>,
}

impl Scenario {
    /// Reads a scenario from the text of a case file (`CASES.md`); its expectations and further cases are left aside.
    ///
    /// # Errors
    /// [`PolicyTestError::BadCase`] with the line and what is wrong there.
    pub fn from_toml(text: &str) -> Result<Self, PolicyTestError> {
        let file = CaseFile::parse("scenario", text)?;
        file.scenario()
    }

    /// Puts everything into the order of the contract; counts the run's totals, and has streams tell about their
    /// collections, anew.
    pub(crate) fn settle(&mut self) {
        self.collections.sort_by(|one, two| one.name.cmp(&two.name));
        self.streams.sort_by(|one, two| (&one.collection, one.class).cmp(&(&two.collection, two.class)));
        self.streams.iter_mut().for_each(|stream| tell(stream, &self.collections));
        self.run.totals = totals(&self.collections);
    }
}

/// Has a stream tell about its collection as a host does. What the case gives stands before it.
fn tell(stream: &mut StreamFacts, collections: &[CollectionFacts]) {
    stream.extra.retain(|fact| !StreamFacts::tells_about_collection(&fact.name));
    // They are in order of name by now.
    let place = collections.binary_search_by(|facts| facts.name.cmp(&stream.collection));
    if let Some(facts) = place.ok().and_then(|place| collections.get(place)) {
        *stream = stream.clone().telling_about(facts);
    }
}

/// Sums over collections, as the host makes them.
pub(crate) fn totals(collections: &[CollectionFacts]) -> Totals {
    collections.iter().fold(Totals::default(), |sum, one| Totals {
        collections: sum.collections.saturating_add(1),
        rows: sum.rows.saturating_add(one.rows),
        size_bytes: sum.size_bytes.saturating_add(one.size_bytes.total()),
        new_bytes: sum.new_bytes.saturating_add(one.new_bytes),
    })
}
