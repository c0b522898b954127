//! Who did what.

use longshore_catalog::AuditRow;

use super::Host;
use crate::EngineError;
use crate::access::{Principal, forbidden};
use crate::views::{Page, PageRequest};

impl Host {
    /// The audit log, newest first, as far as it is about something that the key is for.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], and when the page is out of bounds or the catalog cannot be read.
    pub async fn list_audit(&self, who: &Principal, page: PageRequest) -> Result<Page<AuditRow>, EngineError> {
        if !who.role.may_manage_project() {
            return Err(forbidden(who, "read the audit log"));
        }
        let (scope, page) = (who.scope.clone(), super::page(page));
        let listed =
            self.catalog("reading the audit log", move |catalog, _| Ok(catalog.list_audit(&scope, page)?)).await?;
        Ok(Page { count: listed.count, items: listed.items })
    }
}
