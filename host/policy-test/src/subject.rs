//! The plugin under test, and how it is asked: in pages, with carry, each call in a fresh instance within its budget.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_model::{CollectionFacts, PolicyKind, StreamFacts};
use longshore_policy::{Failure, Limits as PolicyLimits, Oracle, Outcome, PolicyError, SettingsSchema};
use longshore_sandbox::{About, Budget, Call, Sandbox, SandboxConfig, SandboxError};

use crate::asked::{Asked, Choice, End, Item};
use crate::{Limits, PolicyTestError, Scenario};

/// A plugin under test. Cheap to clone.
#[derive(Clone)]
pub struct Subject {
    oracle: Arc<dyn Oracle>,
    schema: Arc<SettingsSchema>,
    path: Option<PathBuf>,
    budget: Budget,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("about", self.about()).finish_non_exhaustive()
    }
}

impl Subject {
    /// Loads a built plugin in a sandbox of its own, under the budget a host gives a plugin that has none configured.
    ///
    /// # Errors
    /// When the file cannot be read, or is no plugin that the host would load.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PolicyTestError> {
        let sandbox = Sandbox::new(SandboxConfig::default()).map_err(plugin_error("the sandbox"))?;
        Self::load_in(&sandbox, path.as_ref(), &Budget::default())
    }

    /// The same, in a sandbox that is there, under another budget: for size and compilation, and for calls where a scenario has
    /// none of its own.
    ///
    /// # Errors
    /// As [`Subject::load`].
    pub fn load_in(sandbox: &Sandbox, path: &Path, budget: &Budget) -> Result<Self, PolicyTestError> {
        let loaded = Self::load_bytes(sandbox, &path.display().to_string(), &read_plugin(path)?, budget)?;
        Ok(Self { path: Some(path.to_owned()), ..loaded })
    }

    /// The same, from bytes that are there; `name` is what errors call them.
    ///
    /// # Errors
    /// When they are no plugin that the host would load.
    pub fn load_bytes(sandbox: &Sandbox, name: &str, bytes: &[u8], budget: &Budget) -> Result<Self, PolicyTestError> {
        let subject = Self::new(Arc::new(sandbox.load(bytes, budget).map_err(plugin_error(name))?))?;
        Ok(subject.under(*budget))
    }

    /// Tests something that answers as a plugin does.
    ///
    /// # Errors
    /// When its settings schema is unusable.
    pub fn new(oracle: Arc<dyn Oracle>) -> Result<Self, PolicyTestError> {
        let about = oracle.about();
        let schema = SettingsSchema::parse(&about.name, &about.settings_schema, &PolicyLimits::DEFAULT)?;
        Ok(Self { oracle, schema: Arc::new(schema), path: None, budget: Budget::default() })
    }

    /// The same, asked under another budget where a scenario has none of its own.
    #[must_use]
    pub fn under(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// What a call may use where a scenario says nothing.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What it says about itself.
    #[must_use]
    pub fn about(&self) -> &About {
        self.oracle.about()
    }

    /// BLAKE3 of its file.
    #[must_use]
    pub fn digest(&self) -> longshore_model::Digest {
        self.oracle.digest()
    }

    /// The file it was loaded from.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The kinds it serves, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<PolicyKind> {
        PolicyKind::ALL.into_iter().filter(|kind| self.oracle.serves(*kind)).collect()
    }

    /// The settings as the plugin would get them.
    ///
    /// # Errors
    /// When they are not valid under its schema.
    pub fn settings(&self, settings: &serde_json::Value) -> Result<String, PolicyError> {
        self.schema.canonical(&self.about().name, settings, &PolicyLimits::DEFAULT)
    }

    /// Asks about a scenario: all its collections, or streams, page by page in the order they have there.
    ///
    /// Settings that are not valid end it with the failure `bad-settings`, as a host would not start with them.
    #[must_use]
    pub fn ask(&self, kind: PolicyKind, scenario: &Scenario) -> Asked {
        let asking = Asking::new(kind, items(kind, scenario), scenario.budget.unwrap_or(self.budget));
        let settings = match self.settings(&scenario.settings) {
            Ok(settings) => settings,
            Err(error) => {
                let failure = Failure { code: "bad-settings".to_owned(), message: error.to_string() };
                return asking.end(End::Failed(failure));
            }
        };
        let oracle = self.oracle.as_ref();
        match kind {
            PolicyKind::Selection => {
                asking.pages(scenario, &settings, &scenario.collections, Choice::Selected, |c, p| oracle.select(c, p))
            }
            PolicyKind::Compression => {
                asking.pages(scenario, &settings, &scenario.streams, Choice::Codec, |c, p| oracle.choose(c, p))
            }
            PolicyKind::Placement => {
                asking.pages(scenario, &settings, &scenario.collections, Choice::Placed, |c, p| {
                    oracle.place(c, p, &scenario.regions)
                })
            }
        }
    }
}

/// What a question of a kind is about.
fn items(kind: PolicyKind, scenario: &Scenario) -> Vec<Item> {
    let collection = |one: &CollectionFacts| Item { collection: one.name.clone(), class: None };
    let stream = |one: &StreamFacts| Item { collection: one.collection.clone(), class: Some(one.class) };
    match kind {
        PolicyKind::Compression => scenario.streams.iter().map(stream).collect(),
        PolicyKind::Selection | PolicyKind::Placement => scenario.collections.iter().map(collection).collect(),
    }
}

type Answer<T> = Result<Outcome<Vec<(u32, T)>>, SandboxError>;

/// A question under way.
struct Asking {
    asked: Asked,
    answers: Vec<Option<Choice>>,
    budget: Budget,
}

impl Asking {
    fn new(kind: PolicyKind, items: Vec<Item>, budget: Budget) -> Self {
        let asked = Asked {
            kind,
            items,
            end: End::Answered(Vec::new()),
            calls: 0,
            fuel_used: Some(0),
            peak_memory_bytes: 0,
            elapsed_us: 0,
            carries: Vec::new(),
            log: Vec::new(),
        };
        Self { asked, answers: Vec::new(), budget }
    }

    fn end(mut self, end: End) -> Asked {
        if !matches!(end, End::Answered(_)) {
            let Failure { code, .. } = match &end {
                End::Failed(failure) => failure.clone(),
                _ => Failure { code: String::new(), message: String::new() },
            };
            // Only a call that ran dry says what it had used.
            if code != "out-of-fuel" {
                self.asked.fuel_used = None;
            }
        }
        self.asked.end = end;
        self.asked
    }

    fn pages<I, T>(
        mut self,
        scenario: &Scenario,
        settings: &str,
        all: &[I],
        wrap: impl Fn(T) -> Choice,
        ask: impl Fn(&Call<'_>, &[I]) -> Answer<T>,
    ) -> Asked {
        let pages = all.chunks(scenario.page_items.clamp(1, longshore_model::Limits::DEFAULT.page_items));
        let last = pages.len();
        let mut carry = Vec::new();
        for (number, page) in (0_u32..).zip(pages) {
            let last_page = usize::try_from(number).is_ok_and(|number| number + 1 == last);
            let (run, budget, files) = (&scenario.run, self.budget, &scenario.files);
            let call = Call { run, settings, carry: &carry, page_number: number, last_page, budget: &budget, files };
            self.asked.calls += 1;
            let first = self.answers.len();
            match ask(&call, page) {
                Ok(outcome) => match self.page(page.len(), outcome, &wrap) {
                    Ok(next) => carry = next,
                    Err(message) => {
                        let failure = Failure { code: "bad-answer".to_owned(), message };
                        return self.end(End::Failed(failure));
                    }
                },
                Err(error) => return self.failed(&error, first),
            }
        }
        let answers = std::mem::take(&mut self.answers);
        self.end(End::Answered(answers))
    }

    /// Notes the answer about one page; gives what is carried to the next. The sandbox has checked places already; an
    /// oracle need not be a sandbox.
    fn page<T>(
        &mut self,
        items: usize,
        outcome: Outcome<Vec<(u32, T)>>,
        wrap: impl Fn(T) -> Choice,
    ) -> Result<Vec<u8>, String> {
        let mut page: Vec<Option<Choice>> = vec![None; items];
        for (place, answer) in outcome.answer {
            let slot = usize::try_from(place).ok().and_then(|place| page.get_mut(place));
            let slot = slot.ok_or_else(|| format!("it answers about item {place}, which it was not asked about"))?;
            if slot.replace(wrap(answer)).is_some() {
                return Err(format!("it answers twice about item {place}"));
            }
        }
        self.answers.append(&mut page);
        let asked = &mut self.asked;
        asked.fuel_used = asked.fuel_used.map(|fuel| fuel.saturating_add(outcome.fuel_used));
        asked.peak_memory_bytes = asked.peak_memory_bytes.max(outcome.peak_memory_bytes);
        asked.elapsed_us = asked.elapsed_us.saturating_add(outcome.elapsed_us);
        asked.log.extend(outcome.log);
        asked.carries.push(outcome.carry.clone());
        Ok(outcome.carry)
    }

    fn failed(mut self, error: &SandboxError, first: usize) -> Asked {
        self.asked.log.extend(error.log().iter().cloned());
        match error {
            SandboxError::Refused { refusal, .. } => {
                let named = |place: &u32| self.asked.items.get(first + usize::try_from(*place).ok()?).cloned();
                let about = refusal.items.iter().filter_map(named).collect();
                self.end(End::Refused(refusal.clone(), about))
            }
            error => {
                if let SandboxError::OutOfFuel { used, .. } = error {
                    self.asked.fuel_used = self.asked.fuel_used.map(|fuel| fuel.saturating_add(*used));
                }
                self.end(End::Failed(Failure::from(error)))
            }
        }
    }
}

/// Reads the file of a plugin.
///
/// # Errors
/// When it cannot be read, or is larger than any plugin may be.
pub fn read_plugin(path: &Path) -> Result<Vec<u8>, PolicyTestError> {
    read_bounded(path, Limits::DEFAULT.plugin_file_bytes)
}

/// Reads a file that may have so many bytes at most.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, PolicyTestError> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| PolicyTestError::file(path, error))?;
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file of exactly the limit from one that is larger.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| PolicyTestError::file(path, error))?;
    if u64::try_from(bytes.len()).map_or(true, |size| size > limit) {
        return Err(PolicyTestError::file(path, format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

fn plugin_error(name: &str) -> impl FnOnce(SandboxError) -> PolicyTestError {
    let name = name.to_owned();
    |source| PolicyTestError::Plugin { name, source: Box::new(source) }
}
