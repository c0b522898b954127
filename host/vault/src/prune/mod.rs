//! Marks of what is to be deleted.

pub(crate) mod marks;

pub use marks::{Mark, MarkId, MarkState};
