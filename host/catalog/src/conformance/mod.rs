//! What every implementation of [`Catalog`] must do, as checks that can be run against any of them.
//!
//! Contract: [`run`] gives each check an empty catalog of its own and reports every rule that does not hold;
//! [`model::replay`] drives a catalog and a model of it in memory through the same steps and reports the first
//! difference. Nothing here panics; a check that cannot go on reports that.

mod deliveries;
mod jobs;
mod leases;
mod lists;
pub mod model;
mod predict;
mod rest;
mod sample;
mod schedules;
mod states;
mod steps;

use std::fmt;

use crate::{Catalog, CatalogError};

pub use steps::Step;

/// A rule that does not hold, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<CatalogError> for Broken {
    fn from(error: CatalogError) -> Self {
        Self(format!("a call that must succeed failed: {error}"))
    }
}

/// The outcome of a check.
pub type Verdict = Result<(), Broken>;

/// One rule.
#[derive(Clone, Copy)]
pub struct Check {
    /// The rule as a sentence.
    pub name: &'static str,
    /// Tries it on an empty catalog.
    pub run: fn(&dyn Catalog) -> Verdict,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All rules.
#[must_use]
pub fn checks() -> Vec<Check> {
    [jobs::CHECKS, states::CHECKS, leases::CHECKS, lists::CHECKS, schedules::CHECKS, deliveries::CHECKS, rest::CHECKS]
        .concat()
}

/// Runs all rules, each on a catalog that `make` has made empty for it, and returns those that do not hold.
pub fn run(make: &mut dyn FnMut() -> Box<dyn Catalog>) -> Vec<(Check, Broken)> {
    let mut broken = Vec::new();
    for check in checks() {
        let catalog = make();
        if let Err(what) = (check.run)(&*catalog) {
            broken.push((check, what));
        }
    }
    broken
}

/// Equal, or a sentence that shows both.
fn same<T: fmt::Debug + PartialEq>(what: &str, found: T, expected: T) -> Verdict {
    if found == expected { Ok(()) } else { Err(Broken(format!("{what}: found {found:?}, expected {expected:?}"))) }
}

/// True, or a sentence.
fn holds(condition: bool, what: &str) -> Verdict {
    if condition { Ok(()) } else { Err(Broken(what.to_owned())) }
}

/// The call was refused with exactly this error.
fn refused<T: fmt::Debug>(what: &str, found: Result<T, CatalogError>, expected: &CatalogError) -> Verdict {
    match found {
        Err(error) if error == *expected => Ok(()),
        other => Err(Broken(format!("{what}: found {other:?}, expected the error {expected:?}"))),
    }
}

/// The call was refused as making no sense.
fn invalid<T: fmt::Debug>(what: &str, found: Result<T, CatalogError>) -> Verdict {
    match found {
        Err(CatalogError::Invalid { .. }) => Ok(()),
        other => Err(Broken(format!("{what}: found {other:?}, expected a refusal"))),
    }
}

/// What must be there is there.
fn some<T>(what: &str, found: Option<T>) -> Result<T, Broken> {
    found.ok_or_else(|| Broken(format!("{what} is missing")))
}
