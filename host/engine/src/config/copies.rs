//! Which regions somebody may ask to have copies in.

use longshore_model::RegionId;

use super::HostConfig;
use crate::EngineError;

impl HostConfig {
    /// Refuses copies that somebody asks for into a region that has no vault, that is the home region, that the
    /// guardrails do not allow, or that is another provider's where they do not name that provider.
    pub(crate) fn check_copies<'a>(
        &self,
        copies: impl IntoIterator<Item = &'a RegionId>,
        home: &RegionId,
    ) -> Result<(), EngineError> {
        let bad = |what: String| Err(EngineError::BadRequest { what });
        let home_provider = self.region(home).map(|region| &region.provider);
        for id in copies {
            let Some(region) = self.region(id) else {
                return Err(EngineError::NotFound { what: "region", id: id.to_string() });
            };
            if id == home {
                return bad(
                    "a copy goes to another region than the cluster's own; the home backup is made anyway".into()
                );
            }
            if self.guardrails.allowed_regions.as_ref().is_some_and(|allowed| !allowed.contains(id)) {
                return bad(format!("region {id} is not among the operator's allowed_regions; ask for another one"));
            }
            let provider = &region.provider;
            let allowed = match &self.guardrails.allowed_providers {
                Some(providers) => providers.contains(provider),
                None => home_provider == Some(provider),
            };
            if !allowed {
                return bad(format!(
                    "region {id} is of provider {provider}; copies stay with the provider of the cluster's own region \
                     unless the operator's allowed_providers name others"
                ));
            }
        }
        Ok(())
    }
}
