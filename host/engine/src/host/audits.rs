//! Who did what.

use longshore_catalog::AuditRow;

use super::Host;
use crate::EngineError;
use crate::views::{Page, PageRequest, Principal};

impl Host {
    /// The audit log, newest first.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], and when the page is out of bounds or the catalog cannot be read.
    pub async fn list_audit(&self, who: &Principal, page: PageRequest) -> Result<Page<AuditRow>, EngineError> {
        if !who.role.may_manage_project() {
            return Err(super::forbidden(who, "read the audit log"));
        }
        let page = super::page(page);
        let listed = self.catalog("reading the audit log", move |catalog, _| Ok(catalog.list_audit(page)?)).await?;
        Ok(Page { count: listed.count, items: listed.items })
    }
}
