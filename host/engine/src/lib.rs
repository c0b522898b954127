//! longshore-engine
