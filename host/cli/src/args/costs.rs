//! `longshore costs`.

use std::path::PathBuf;

use clap::Args;
use longshore_engine::CostGroup;
use longshore_model::{ClusterId, RegionId, Timestamp};

use super::parse_day;

/// `longshore costs`.
#[derive(Debug, Args)]
#[command(after_help = COSTS_HELP)]
pub(crate) struct Costs {
    /// What a line is about: any of day or month, region, cluster, backup, separated by commas.
    #[arg(long, value_name = "WHAT", default_value = "day,region")]
    pub(crate) by: CostGroup,
    /// Only of this cluster.
    #[arg(long, value_name = "ID")]
    pub(crate) cluster: Option<ClusterId>,
    /// Only in this region.
    #[arg(long, value_name = "ID")]
    pub(crate) region: Option<RegionId>,
    /// The first day, 2026-09-01; the first of this month when left out.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    pub(crate) start: Option<Timestamp>,
    /// The last day; today when left out.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    pub(crate) end: Option<Timestamp>,
    /// The configuration of the host.
    #[arg(long, default_value = "longshore.toml", env = "LONGSHORE_CONFIG")]
    pub(crate) config: PathBuf,
}

const COSTS_HELP: &str = "Storage is paid by the day, a day that began counts whole, at the price of the region that holds \
the bytes (storage_price_micros_per_gb_month of its [[region]]); copies in other regions also pay their transfer once. What a \
vault holds is shared out among the backups in it: each bears what it added, and those of a cluster bear together what its \
deleted backups left that is still used. Money is in the unit of the configured prices.";
