//! The policies of one run and what bounds them.

use std::sync::Arc;

use longshore_catalog::Catalog;
use longshore_model::{ClusterId, Region};
use longshore_policy::{Guardrails, PolicySet};
use longshore_sandbox::{Sandbox, SandboxConfig};
use longshore_vault::Vault;

use crate::EngineError;
use crate::blocking::blocking;
use crate::config::{HostConfig, RegionConfig};
use crate::costs::RunCosts;
use crate::known::HostFacts;

/// The policies of one run and what bounds them. A run keeps what it started with.
#[derive(Clone)]
pub struct RunPolicy {
    /// The chains.
    pub set: Arc<PolicySet>,
    /// What no policy may override.
    pub guardrails: Guardrails,
    /// The regions there are.
    pub regions: Vec<Region>,
    /// What they are told about costs, beside what the vaults hold and the regions charge.
    pub costs: RunCosts,
    /// What the host has on record about the cluster; nothing where no host keeps records.
    pub known: HostFacts,
}

impl RunPolicy {
    /// The standard policy alone, with its default settings, and the one region of a vault.
    ///
    /// # Errors
    /// When the sandbox cannot be started.
    pub fn standard(vault: &Vault) -> Result<Self, EngineError> {
        let sandbox = Sandbox::new(SandboxConfig::default());
        Self::standard_in(&sandbox.map_err(EngineError::plugin("the sandbox"))?, vault)
    }

    /// The same in a sandbox of one's own, for example one that keeps compiled plugins between runs.
    ///
    /// # Errors
    /// When the plugin does not load, as under a ceiling that is too low.
    pub fn standard_in(sandbox: &Sandbox, vault: &Vault) -> Result<Self, EngineError> {
        Ok(Self::of(crate::policies::standard_policies(sandbox)?, vault))
    }

    /// Chains of one's own and the one region of a vault.
    #[must_use]
    pub fn of(policies: PolicySet, vault: &Vault) -> Self {
        let region = Region {
            id: vault.region_id().clone(),
            provider: "local".to_owned(),
            jurisdiction: String::new(),
            storage_price_micros_per_gb_month: 0,
            transfer_price_micros_per_gb: 0,
        };
        Self {
            set: Arc::new(policies),
            guardrails: Guardrails::default(),
            regions: vec![region],
            costs: RunCosts::default(),
            known: HostFacts::default(),
        }
    }

    /// Chains of a host, for a run of one of its clusters: what the configuration says, and what its catalog has on record.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub(crate) fn configured(
        set: Arc<PolicySet>,
        config: &HostConfig,
        cluster: &ClusterId,
        catalog: Option<&dyn Catalog>,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            set,
            guardrails: config.guardrails.clone(),
            regions: config.regions.iter().map(RegionConfig::region).collect(),
            costs: RunCosts::of(config, cluster, catalog)?,
            known: catalog.map_or_else(|| Ok(HostFacts::default()), |catalog| HostFacts::of(catalog, cluster))?,
        })
    }

    /// The policies of one run: what was granted to them is read now, once.
    pub(crate) async fn for_run(&self) -> Result<Self, EngineError> {
        if !self.set.has_grants() {
            return Ok(self.clone());
        }
        let set = Arc::clone(&self.set);
        let read = blocking("reading what is granted to policies", move || crate::grants::read_for_run(&set)).await?;
        Ok(Self { set: Arc::new(read), ..self.clone() })
    }
}
