//! Everything goes in, but for what the settings exclude.

use longshore_plugin::{Answer, Collection, Reason, Refusal, Run, RunKind, Selected, SelectionPolicy};

use crate::{Settings, Standard};

impl SelectionPolicy for Standard {
    fn select(run: &Run, page: &[Collection]) -> Result<Answer<Selected>, Refusal> {
        let settings: Settings = run.settings()?;
        Ok(page.iter().map(|collection| (collection.id, select(run, &settings, collection))).collect())
    }
}

fn select(run: &Run, settings: &Settings, collection: &Collection) -> Selected {
    let excluded_by =
        settings.exclude_collections.iter().find(|pattern| pattern.matches(&collection.database, &collection.name));
    let reason = match excluded_by {
        None => Reason::new("selected-by-default", "Every collection is backed up unless something excludes it."),
        // The host would overrule an exclusion here, or fail the job; say yes and why.
        Some(pattern) if run.kind == RunKind::Collection && collection.requested => Reason::new(
            "requested-by-name",
            format!("The request names it, so the exclusion `{pattern}` does not apply."),
        ),
        Some(pattern) if collection.protected => {
            Reason::new("protected", format!("The operator protects it, so the exclusion `{pattern}` does not apply."))
        }
        Some(pattern) => {
            let message = format!("The pattern `{pattern}` of exclude_collections leaves it out.");
            return Selected::excluded(Reason::new("excluded-by-pattern", message));
        }
    };
    Selected { include_index_files: settings.include_index_files, ..Selected::included(reason) }
}
