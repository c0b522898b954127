//! What an API key is for: everything, or only some projects and clusters.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ClusterId, ProjectId};

/// What somebody may see and act on. Written as `null` for everything, or as `{"projects":[…],"clusters":[…]}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeyScope {
    /// Everything.
    #[default]
    All,
    /// What belongs to one of the projects, and what belongs to one of the clusters.
    Only {
        /// Whole projects.
        projects: BTreeSet<ProjectId>,
        /// Single clusters.
        clusters: BTreeSet<ClusterId>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    projects: BTreeSet<ProjectId>,
    #[serde(default)]
    clusters: BTreeSet<ClusterId>,
}

impl KeyScope {
    /// Everything when nothing is named, else what is.
    #[must_use]
    pub fn of(projects: impl IntoIterator<Item = ProjectId>, clusters: impl IntoIterator<Item = ClusterId>) -> Self {
        let projects: BTreeSet<ProjectId> = projects.into_iter().collect();
        let clusters: BTreeSet<ClusterId> = clusters.into_iter().collect();
        if projects.is_empty() && clusters.is_empty() { Self::All } else { Self::Only { projects, clusters } }
    }

    /// Whether a whole project is in it.
    #[must_use]
    pub fn has_project(&self, project: &ProjectId) -> bool {
        match self {
            Self::All => true,
            Self::Only { projects, .. } => projects.contains(project),
        }
    }

    /// Whether something that belongs to this project, and to this cluster if to any, is in it.
    #[must_use]
    pub fn includes(&self, project: &ProjectId, cluster: Option<&ClusterId>) -> bool {
        match self {
            Self::All => true,
            Self::Only { projects, clusters } => {
                projects.contains(project) || cluster.is_some_and(|cluster| clusters.contains(cluster))
            }
        }
    }
}

impl fmt::Display for KeyScope {
    /// `everything`, or the ids, projects first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Only { projects, clusters } = self else { return f.write_str("everything") };
        let ids: Vec<&str> =
            projects.iter().map(ProjectId::as_str).chain(clusters.iter().map(ClusterId::as_str)).collect();
        f.write_str(if ids.is_empty() { "nothing" } else { "" })?;
        f.write_str(&ids.join(", "))
    }
}

impl Serialize for KeyScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::All => None,
            Self::Only { projects, clusters } => {
                Some(Written { projects: projects.clone(), clusters: clusters.clone() })
            }
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeyScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Option::<Written>::deserialize(deserializer)?;
        Ok(match written {
            None => Self::All,
            Some(Written { projects, clusters }) => Self::Only { projects, clusters },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn scope(text: &str) -> KeyScope {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_scope_has_what_it_names_and_nothing_else() {
        let (one, two) = ("proj-1".parse().unwrap(), "proj-2".parse().unwrap());
        let (a, b): (ClusterId, ClusterId) = ("in01-a".parse().unwrap(), "in01-b".parse().unwrap());
        let by_project = scope(r#"{"projects":["proj-1"]}"#);
        assert!(by_project.has_project(&one) && by_project.includes(&one, Some(&a)) && by_project.includes(&one, None));
        assert!(!by_project.has_project(&two) && !by_project.includes(&two, Some(&a)));
        let by_cluster = scope(r#"{"projects":[],"clusters":["in01-a"]}"#);
        assert!(by_cluster.includes(&one, Some(&a)) && !by_cluster.includes(&one, Some(&b)));
        assert!(!by_cluster.has_project(&one) && !by_cluster.includes(&one, None), "a cluster is not its project");
        assert!(KeyScope::All.has_project(&two) && KeyScope::All.includes(&two, None));
        assert!(!scope(r#"{"projects":[]}"#).includes(&one, Some(&a)), "nothing named in writing is nothing");
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_not_known_is_refused() {
        for (text, shown) in [
            ("null", "everything"),
            (r#"{"projects":["proj-1","proj-2"],"clusters":["in01-a"]}"#, "proj-1, proj-2, in01-a"),
            (r#"{"projects":[],"clusters":[]}"#, "nothing"),
        ] {
            assert_eq!(serde_json::to_string(&scope(text)).unwrap(), text);
            assert_eq!(scope(text).to_string(), shown);
        }
        assert_eq!(KeyScope::of([], []), KeyScope::All);
        // A scope of a later version must not be read as a wider one.
        for text in [r#"{"projects":[],"tags":["x"]}"#, "{}", "[]", r#""all""#, r#"{"projects":["x"]}"#] {
            assert!(serde_json::from_str::<KeyScope>(text).is_err(), "{text}");
        }
    }
}
