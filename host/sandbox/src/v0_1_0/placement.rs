//! Interface `placement`, by hand: see `bindings` for why. Field order and names are those of `wit/v0.1.0/policy.wit`;
//! wasmtime checks them against the plugin's own when a plugin is loaded.

use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, Instance, InstancePre, Lift, Lower, TypedFunc,
};

use super::bindings::about::longshore::policy::types::{Collection, FactValue, Refusal, Run};
use crate::call::Guest;

/// Whether a region can be written to now.
#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum RegionHealth {
    #[component(name = "healthy")]
    Healthy,
    #[component(name = "degraded")]
    Degraded,
    #[component(name = "unreachable")]
    Unreachable,
}

/// A region that the project may use.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(super) struct Region {
    #[component(name = "id")]
    pub(super) id: String,
    #[component(name = "provider")]
    pub(super) provider: String,
    #[component(name = "jurisdiction")]
    pub(super) jurisdiction: String,
    #[component(name = "home")]
    pub(super) home: bool,
    #[component(name = "storage-price-micros-per-gb-month")]
    pub(super) storage_price_micros_per_gb_month: u64,
    #[component(name = "transfer-price-micros-per-gb")]
    pub(super) transfer_price_micros_per_gb: u64,
    #[component(name = "health")]
    pub(super) health: RegionHealth,
    #[component(name = "used-bytes")]
    pub(super) used_bytes: u64,
    #[component(name = "extra")]
    pub(super) extra: Vec<(String, FactValue)>,
}

/// A further copy; `copy` in the contract.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct RegionCopy {
    #[component(name = "region")]
    pub(super) region: String,
    #[component(name = "retention-days")]
    pub(super) retention_days: Option<u32>,
}

/// Where one collection goes.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct Placed {
    #[component(name = "region")]
    pub(super) region: String,
    #[component(name = "copies")]
    pub(super) copies: Vec<RegionCopy>,
    #[component(name = "retention-days")]
    pub(super) retention_days: Option<u32>,
    #[component(name = "reason")]
    pub(super) reason: super::bindings::about::longshore::policy::types::Reason,
}

/// The answer to one page.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(super) struct PageAnswer {
    #[component(name = "decisions")]
    pub(super) decisions: Vec<(u32, Placed)>,
    #[component(name = "carry")]
    pub(super) carry: Vec<u8>,
}

/// The function `place`.
type Place<'a> = TypedFunc<(&'a Run, &'a [Collection], &'a [Region]), (Result<PageAnswer, Refusal>,)>;

/// A plugin with the interface `placement`.
pub(super) struct PlacementPre {
    pre: InstancePre<Guest>,
    place: ComponentExportIndex,
}

impl PlacementPre {
    /// Looks the function up; its type can be checked only in an instance, by [`PlacementPre::check`].
    pub(super) fn new(pre: InstancePre<Guest>, component: &Component) -> wasmtime::Result<Self> {
        let name = super::interface(longshore_model::PolicyKind::Placement);
        let missing = || wasmtime::format_err!("no function `place` in the exported instance `{name}`");
        let interface = component.get_export_index(None, name).ok_or_else(missing)?;
        let place = component.get_export_index(Some(&interface), "place").ok_or_else(missing)?;
        Ok(Self { pre, place })
    }

    /// Checks that `place` has the type of the contract: the inner error says how it differs, the outer one that the
    /// plugin could not even be instantiated.
    pub(super) fn check(&self, store: &mut Store<Guest>) -> wasmtime::Result<wasmtime::Result<()>> {
        let instance = self.pre.instantiate(&mut *store)?;
        Ok(self.function(store, &instance).map(drop))
    }

    fn function<'a>(&self, store: &mut Store<Guest>, instance: &Instance) -> wasmtime::Result<Place<'a>> {
        instance.get_typed_func(store, self.place)
    }

    /// Asks where collections go.
    pub(super) fn call_place(
        &self,
        store: &mut Store<Guest>,
        run: &Run,
        collections: &[Collection],
        regions: &[Region],
    ) -> wasmtime::Result<Result<PageAnswer, Refusal>> {
        let instance = self.pre.instantiate(&mut *store)?;
        let place = self.function(store, &instance)?;
        let (answer,) = place.call(&mut *store, (run, collections, regions))?;
        Ok(answer)
    }
}
