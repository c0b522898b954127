//! The commands, one module each.

pub(crate) mod backup;
pub(crate) mod catalog;
pub(crate) mod costs;
pub(crate) mod demo;
pub(crate) mod erase;
pub(crate) mod export;
pub(crate) mod heal;
mod host_catalog;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod list;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod plugin_store;
pub(crate) mod policy;
pub(crate) mod prune;
pub(crate) mod recipient;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod schedule;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod source;
pub(crate) mod vault;
pub(crate) mod verify;
mod which;
pub(crate) mod why;
