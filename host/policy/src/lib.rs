//! longshore-policy
