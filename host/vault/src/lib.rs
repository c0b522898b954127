//! longshore-vault
