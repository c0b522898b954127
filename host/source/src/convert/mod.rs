//! Collections of one kind of cluster restored into another: a Milvus server's into a Milvus Lite directory, and the other way.
//!
//! Contract: whether a collection fits is decided by its schema alone, before anything is written, and what does not fit is
//! [`DoesNotFit`], which names every field in the way. Rows come over piece by piece in one form, that of their digest
//! (`src/rows.rs`): those that are read must have the digest that the backup's manifest has, and those that were written are read
//! back and must have the digest of those that were read. So no row can be lost, doubled or changed on the way without
//! an error.

mod fit_lite;
mod fit_server;
mod into_lite;
mod into_server;
mod lite_files;
mod lite_rows;
mod lite_schema;
mod lite_values;
mod misfit;
mod piece;
#[cfg(test)]
mod tests;

pub(crate) use fit_lite::{LitePlan, does_not_fit, lite_plan};
pub(crate) use fit_server::{ServerPlan, does_not_fit_server, server_plan};
pub(crate) use into_lite::IntoLite;
pub(crate) use into_server::{ForServer, IntoServer};
pub(crate) use lite_rows::LiteFiles;
pub use misfit::{DoesNotFit, Misfit};
pub(crate) use piece::{Column, PIECE_ROWS, Piece};
