//! longshore-catalog
