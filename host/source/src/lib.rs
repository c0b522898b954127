//! longshore-source
