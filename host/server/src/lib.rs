//! longshore-server
