//! Oracles that do what a test says, and cases in folders.

use std::path::Path;
use std::sync::Arc;

use longshore_model::{
    CodecChoice, CollectionFacts, Copy, Digest, Placed, PolicyKind, Reason, RegionOffer, Selected, StreamFacts,
};
use longshore_policy::{About, Call, Oracle, Outcome, SandboxError};
use longshore_policy_test::cases::{CaseFile, CaseReport};
use longshore_policy_test::{PolicyTestError, Subject};

pub(crate) type Answer<T> = Result<Outcome<Vec<(u32, T)>>, SandboxError>;
type Pages<I, T> = Box<dyn Fn(&Call<'_>, &[I]) -> Answer<T> + Send + Sync>;
type Places = Box<dyn Fn(&Call<'_>, &[CollectionFacts], &[RegionOffer]) -> Answer<Placed> + Send + Sync>;

/// An oracle made of closures. It serves the kinds that were given.
pub(crate) struct Fake {
    about: About,
    select: Option<Pages<CollectionFacts, Selected>>,
    choose: Option<Pages<StreamFacts, CodecChoice>>,
    place: Option<Places>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let about = About {
            name: "fake".to_owned(),
            version: "1.2.3".to_owned(),
            author: "the tests".to_owned(),
            description: "Says what a test wants.".to_owned(),
            settings_schema: r#"{"type": "object", "additionalProperties": false, "properties": {
                "days": {"type": "integer", "minimum": 1, "description": "Days."}}}"#
                .to_owned(),
        };
        Self { about, select: None, choose: None, place: None }
    }

    pub(crate) fn schema(mut self, schema: &str) -> Self {
        self.about.settings_schema = schema.to_owned();
        self
    }

    pub(crate) fn anonymous(mut self) -> Self {
        (self.about.author, self.about.description) = (String::new(), String::new());
        self
    }

    pub(crate) fn select_pages(
        mut self,
        select: impl Fn(&Call<'_>, &[CollectionFacts]) -> Answer<Selected> + Send + Sync + 'static,
    ) -> Self {
        self.select = Some(Box::new(select));
        self
    }

    pub(crate) fn select(self, each: impl Fn(&CollectionFacts) -> Option<Selected> + Send + Sync + 'static) -> Self {
        self.select_pages(move |_, page| Ok(outcome(answers(page, &each))))
    }

    pub(crate) fn choose(mut self, each: impl Fn(&StreamFacts) -> Option<CodecChoice> + Send + Sync + 'static) -> Self {
        self.choose = Some(Box::new(move |_, page| Ok(outcome(answers(page, &each)))));
        self
    }

    pub(crate) fn place(
        mut self,
        each: impl Fn(&CollectionFacts, &[RegionOffer]) -> Option<Placed> + Send + Sync + 'static,
    ) -> Self {
        self.place = Some(Box::new(move |_, page, regions| Ok(outcome(answers(page, &|item| each(item, regions))))));
        self
    }

    pub(crate) fn subject(self) -> Subject {
        Subject::new(Arc::new(self)).unwrap()
    }
}

impl Oracle for Fake {
    fn digest(&self) -> Digest {
        Digest::new([7; 32])
    }

    fn about(&self) -> &About {
        &self.about
    }

    fn serves(&self, kind: PolicyKind) -> bool {
        match kind {
            PolicyKind::Selection => self.select.is_some(),
            PolicyKind::Compression => self.choose.is_some(),
            PolicyKind::Placement => self.place.is_some(),
        }
    }

    fn select(&self, call: &Call<'_>, page: &[CollectionFacts]) -> Answer<Selected> {
        self.select.as_ref().unwrap()(call, page)
    }

    fn choose(&self, call: &Call<'_>, page: &[StreamFacts]) -> Answer<CodecChoice> {
        self.choose.as_ref().unwrap()(call, page)
    }

    fn place(&self, call: &Call<'_>, page: &[CollectionFacts], regions: &[RegionOffer]) -> Answer<Placed> {
        self.place.as_ref().unwrap()(call, page, regions)
    }
}

fn answers<I, T>(page: &[I], each: &dyn Fn(&I) -> Option<T>) -> Vec<(u32, T)> {
    (0_u32..).zip(page).filter_map(|(place, item)| Some((place, each(item)?))).collect()
}

/// An answer that costs 100 fuel an item.
pub(crate) fn outcome<T>(answer: Vec<(u32, T)>) -> Outcome<Vec<(u32, T)>> {
    let fuel_used = 100 * u64::try_from(answer.len()).unwrap();
    Outcome { answer, carry: Vec::new(), fuel_used, peak_memory_bytes: 65_536, elapsed_us: 7, log: Vec::new() }
}

pub(crate) fn refused(code: &str, message: &str, items: &[u32]) -> SandboxError {
    let refusal = longshore_model::Refusal { reason: Reason::new(code, message), items: items.to_vec() };
    SandboxError::Refused { plugin: "fake 1.2.3".to_owned(), refusal, log: Box::new([]) }
}

pub(crate) fn trapped() -> SandboxError {
    SandboxError::Trapped {
        plugin: "fake 1.2.3".to_owned(),
        what: "it panicked or aborted".to_owned(),
        log: Box::new([]),
    }
}

pub(crate) fn selected(include_collection: bool, code: &str) -> Selected {
    let reason = Reason::new(code, format!("Because of {code}."));
    Selected { include_collection, include_index_files: false, priority: 0, reason }
}

pub(crate) fn placed(region: &str, copies: &[&str], retention_days: Option<u32>) -> Placed {
    let copies = copies.iter().map(|region| Copy { region: region.parse().unwrap(), retention_days: None });
    let reason = Reason::new("here", "It has to be somewhere.");
    Placed { region: region.parse().unwrap(), copies: copies.collect(), retention_days, reason }
}

/// One that takes everything, compresses nothing and keeps it at home.
pub(crate) fn plain() -> Fake {
    Fake::new()
        .select(|_| Some(selected(true, "all")))
        .choose(|stream| {
            Some(CodecChoice { codec: stream.offers[0].codec, reason: Reason::new("first", "It is first.") })
        })
        .place(|_, regions| Some(placed(regions.iter().find(|region| region.home)?.id.as_str(), &[], None)))
}

/// Runs the one case of a text.
pub(crate) fn run(subject: &Subject, text: &str) -> CaseReport {
    let cases = CaseFile::parse("cases/one.toml", text).unwrap().cases().unwrap();
    assert_eq!(cases.len(), 1);
    subject.run_case(&cases[0], None)
}

/// The fields that did not hold.
pub(crate) fn wrong(subject: &Subject, text: &str) -> Vec<String> {
    run(subject, text).mismatches.into_iter().map(|mismatch| mismatch.field).collect()
}

/// Why a text is no case file.
pub(crate) fn mistake(text: &str) -> String {
    let error = CaseFile::parse("cases/one.toml", text).and_then(|file| file.cases()).unwrap_err();
    assert!(matches!(error, PolicyTestError::BadCase { .. }), "{error:?}");
    error.to_string()
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
