//! Chains of policies as plain values: what is written down, compared and gone back to.
//!
//! A [`SetSpec`] says everything that a set of policies is, with plugins by digest, so that it can be built again whatever
//! became of the configuration and the files it came from. Two sets with one [`SetSpec::fingerprint`] decide alike.

use std::collections::BTreeMap;
use std::fmt;

use longshore_model::{ClusterId, Digest, PolicyKind};
use longshore_policy::{Grants, OnFailure, canonical_json};
use longshore_sandbox::Budget;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whose chains: the project's, or those that a cluster has in their place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Every cluster that has no chain of its own.
    Project,
    /// One cluster.
    Cluster(ClusterId),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project => f.write_str("project"),
            Self::Cluster(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl TryFrom<String> for Scope {
    type Error = longshore_model::ModelError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "project" { Ok(Self::Project) } else { Ok(Self::Cluster(text.parse()?)) }
    }
}

/// A place in a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seat {
    /// Whose chain.
    pub scope: Scope,
    /// Which chain.
    pub kind: PolicyKind,
    /// Name of the member.
    pub member: String,
}

impl Seat {
    /// Whether it is in a chain that a key may see: the project's, or that of a cluster that the key is for.
    pub(crate) fn is_seen_by(&self, who: &crate::Principal, project: &longshore_model::ProjectId) -> bool {
        match &self.scope {
            Scope::Project => true,
            Scope::Cluster(cluster) => who.scope.includes(project, Some(cluster)),
        }
    }
}

impl fmt::Display for Seat {
    /// `placement/residency of project`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} of {}", self.kind, self.member, self.scope)
    }
}

/// A plugin with everything it is asked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CandidateSpec {
    /// As it stands in the configuration.
    pub(crate) plugin: String,
    /// BLAKE3 of its file.
    pub(crate) digest: Digest,
    /// Its version, for people.
    pub(crate) version: String,
    /// Its settings.
    pub(crate) settings: Value,
    /// Budget of one call.
    pub(crate) budget: Budget,
}

/// One member of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberSpec {
    /// Which chain it stands in.
    pub(crate) kind: PolicyKind,
    /// Its name.
    pub(crate) name: String,
    /// What is asked.
    #[serde(flatten)]
    pub(crate) asked: CandidateSpec,
    /// What happens if it fails.
    pub(crate) on_failure: OnFailure,
    /// It can never be skipped.
    pub(crate) required: bool,
    /// What it may see beside the facts; its candidate sees the same.
    #[serde(default, skip_serializing_if = "Grants::is_empty")]
    pub(crate) grants: Grants,
    /// The configuration pins its digest: nothing else may be put in its place.
    pub(crate) pinned: bool,
    /// The candidate beside it. Not part of what it decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<CandidateSpec>,
}

impl MemberSpec {
    /// The place it stands in.
    #[must_use]
    pub(crate) fn seat(&self, scope: &Scope) -> Seat {
        Seat { scope: scope.clone(), kind: self.kind, member: self.name.clone() }
    }

    /// What tells it from another version of the same member: file, settings and budget. What failed is exactly this;
    /// with another file, settings or budget it is a new thing.
    #[must_use]
    pub(crate) fn fingerprint(&self, scope: &Scope) -> Digest {
        let asked = &self.asked;
        fingerprint(&serde_json::json!({
            "seat": self.seat(scope), "digest": asked.digest, "settings": asked.settings, "budget": asked.budget,
            "grants": self.grants,
        }))
    }
}

fn fingerprint(value: &Value) -> Digest {
    Digest::new(*blake3::hash(canonical_json(value).as_bytes()).as_bytes())
}

/// All chains of a host. A cluster has only the kinds that it names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct SetSpec {
    /// Members by scope, by kind and then in the order of their chain.
    pub(crate) scopes: BTreeMap<Scope, Vec<MemberSpec>>,
}

impl SetSpec {
    /// Equal for sets that decide alike.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> Digest {
        let members = |scope: &Scope, members: &[MemberSpec]| -> Vec<Value> {
            let member = |member: &MemberSpec| {
                serde_json::json!([member.fingerprint(scope), member.on_failure, member.required])
            };
            members.iter().map(member).collect()
        };
        let scopes: BTreeMap<String, Vec<Value>> =
            self.scopes.iter().map(|(scope, all)| (scope.to_string(), members(scope, all))).collect();
        fingerprint(&serde_json::json!(scopes))
    }

    /// Every member with whose it is.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Scope, &MemberSpec)> {
        self.scopes.iter().flat_map(|(scope, members)| members.iter().map(move |member| (scope, member)))
    }

    /// The member in a seat.
    #[must_use]
    pub(crate) fn find(&self, seat: &Seat) -> Option<&MemberSpec> {
        let members = self.scopes.get(&seat.scope)?;
        members.iter().find(|member| member.kind == seat.kind && member.name == seat.member)
    }

    /// The chain of a kind that holds for a scope: its own, or the project's; with whose it is.
    #[must_use]
    pub(crate) fn chain(&self, scope: &Scope, kind: PolicyKind) -> (Scope, Vec<&MemberSpec>) {
        let of = |scope: &Scope| -> Vec<&MemberSpec> {
            self.scopes.get(scope).into_iter().flatten().filter(|member| member.kind == kind).collect()
        };
        let own = of(scope);
        if own.is_empty() { (Scope::Project, of(&Scope::Project)) } else { (scope.clone(), own) }
    }

    /// Digests of all files that are needed to build it.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        self.members().flat_map(|(_, member)| {
            std::iter::once(member.asked.digest).chain(member.shadow.as_ref().map(|shadow| shadow.digest))
        })
    }
}
