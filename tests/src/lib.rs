//! End-to-end tests of Longshore and what they share.
