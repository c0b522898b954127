//! Regions: where vaults are.

use serde::{Deserialize, Serialize};

use crate::RegionId;

/// Whether a region can be written to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionHealth {
    /// Its vault answered.
    #[default]
    Healthy,
    /// Its vault answers, but slowly or with errors.
    Degraded,
    /// Its vault does not answer.
    Unreachable,
}

/// A region as the operator configured it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Its name, for example `aws-us-west-2`.
    pub id: RegionId,
    /// Who runs it, for example `aws` or `local`.
    pub provider: String,
    /// The legal area it lies in, for example `eu`; empty when none was given.
    #[serde(default)]
    pub jurisdiction: String,
    /// Price of keeping one gigabyte for a month, in millionths of the currency unit.
    #[serde(default)]
    pub storage_price_micros_per_gb_month: u64,
    /// Price of moving one gigabyte there from another region, in millionths of the currency unit.
    #[serde(default)]
    pub transfer_price_micros_per_gb: u64,
}
