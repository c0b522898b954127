//! Policy sets: the chains of all three kinds.

use longshore_model::{CollectionFacts, PolicyKind, RegionOffer, RunFacts, StreamFacts};

use crate::member::AcceptedMember;
use crate::{
    CompressionPlan, DecidedBy, DecisionRecord, GrantedFiles, Grants, Guardrails, Limits, Member, PlacementPlan,
    PolicyError, SelectionPlan, ShadowOutcome, chain, shadow,
};

/// The chains of a project or cluster, all accepted. Immutable: a run keeps the one it started with.
#[derive(Debug, Clone)]
pub struct PolicySet {
    selection: Vec<AcceptedMember>,
    compression: Vec<AcceptedMember>,
    placement: Vec<AcceptedMember>,
    limits: Limits,
}

impl PolicySet {
    /// An empty set to be filled.
    #[must_use]
    pub fn builder() -> PolicySetBuilder {
        let limits = Limits::DEFAULT;
        PolicySetBuilder { set: Self { selection: Vec::new(), compression: Vec::new(), placement: Vec::new(), limits } }
    }

    /// The chain of a kind, in order.
    pub fn members(&self, kind: PolicyKind) -> impl Iterator<Item = &Member> {
        self.chain(kind).iter().map(|accepted| &accepted.member)
    }

    /// Who stands in the chain of a kind, in order.
    #[must_use]
    pub fn identities(&self, kind: PolicyKind) -> Vec<DecidedBy> {
        self.chain(kind).iter().map(AcceptedMember::identity).collect()
    }

    /// True if a member may read files: then [`PolicySet::with_files`] is needed before a run.
    #[must_use]
    pub fn has_grants(&self) -> bool {
        let members = [&self.selection, &self.compression, &self.placement].into_iter().flatten();
        members.into_iter().any(|accepted| !accepted.member.grants.is_empty())
    }

    /// The set for one run: `read` gives the files of a member's grants. It is called for each member that has some;
    /// a caller that remembers what it read reads each directory once per run.
    ///
    /// # Errors
    /// What `read` fails with, and [`PolicyError::BadGrant`] if it gives other directories than the granted ones.
    pub fn with_files<E: From<PolicyError>>(
        &self,
        mut read: impl FnMut(&Grants) -> Result<GrantedFiles, E>,
    ) -> Result<Self, E> {
        let mut set = self.clone();
        let members = [&mut set.selection, &mut set.compression, &mut set.placement].into_iter().flatten();
        for accepted in members.into_iter().filter(|accepted| !accepted.member.grants.is_empty()) {
            *accepted = accepted.with_files(read(&accepted.member.grants)?)?;
        }
        Ok(set)
    }

    fn chain(&self, kind: PolicyKind) -> &[AcceptedMember] {
        match kind {
            PolicyKind::Selection => &self.selection,
            PolicyKind::Compression => &self.compression,
            PolicyKind::Placement => &self.placement,
        }
    }

    /// Decides which collections go into a backup: one decision per collection, in the order given. A run of kind
    /// [`longshore_model::RunKind::Collection`] is given only the collections that its request names.
    ///
    /// # Errors
    /// [`PolicyError`] if a plugin refuses or fails, if nobody has an opinion on a collection, or if the same
    /// collection is given twice.
    pub fn select(
        &self,
        run: &RunFacts,
        collections: &[CollectionFacts],
        guardrails: &Guardrails,
    ) -> Result<SelectionPlan, PolicyError> {
        self.select_noting(run, collections, guardrails, &mut Vec::new())
    }

    /// The same, and leaves in `asked` every call of a run that ends in an error; of one that does not, they are in its plan.
    ///
    /// # Errors
    /// As [`PolicySet::select`].
    pub fn select_noting(
        &self,
        run: &RunFacts,
        collections: &[CollectionFacts],
        guardrails: &Guardrails,
        asked: &mut Vec<DecisionRecord>,
    ) -> Result<SelectionPlan, PolicyError> {
        chain::select(&self.selection, run, collections, guardrails, &self.limits, asked)
    }

    /// Decides how streams are compressed: one decision per stream, in the order given, each one of its offers.
    ///
    /// # Errors
    /// As [`PolicySet::select`], and [`PolicyError::NoOffers`].
    pub fn choose(&self, run: &RunFacts, streams: &[StreamFacts]) -> Result<CompressionPlan, PolicyError> {
        self.choose_noting(run, streams, &mut Vec::new())
    }

    /// The same, and leaves in `asked` every call of a run that ends in an error.
    ///
    /// # Errors
    /// As [`PolicySet::choose`].
    pub fn choose_noting(
        &self,
        run: &RunFacts,
        streams: &[StreamFacts],
        asked: &mut Vec<DecisionRecord>,
    ) -> Result<CompressionPlan, PolicyError> {
        chain::choose(&self.compression, run, streams, &self.limits, asked)
    }

    /// Decides where collections are kept: one decision per collection, in the order given, in regions that are
    /// offered and allowed.
    ///
    /// # Errors
    /// As [`PolicySet::select`], and [`PolicyError::NoAllowedRegion`].
    pub fn place(
        &self,
        run: &RunFacts,
        collections: &[CollectionFacts],
        regions: &[RegionOffer],
        guardrails: &Guardrails,
    ) -> Result<PlacementPlan, PolicyError> {
        self.place_noting(run, collections, regions, guardrails, &mut Vec::new())
    }

    /// The same, and leaves in `asked` every call of a run that ends in an error.
    ///
    /// # Errors
    /// As [`PolicySet::place`].
    pub fn place_noting(
        &self,
        run: &RunFacts,
        collections: &[CollectionFacts],
        regions: &[RegionOffer],
        guardrails: &Guardrails,
        asked: &mut Vec<DecisionRecord>,
    ) -> Result<PlacementPlan, PolicyError> {
        chain::place(&self.placement, run, collections, regions, guardrails, &self.limits, asked)
    }

    /// Asks the shadows of all members what their members were asked in a run, and compares. `records` are all calls of
    /// the run. Nothing that a shadow does can fail.
    #[must_use]
    pub fn ask_shadows(&self, records: &[DecisionRecord]) -> Vec<ShadowOutcome> {
        let members =
            PolicyKind::ALL.into_iter().flat_map(|kind| self.chain(kind).iter().map(move |member| (kind, member)));
        members.filter_map(|(kind, member)| shadow::ask(kind, member, records, &self.limits)).collect()
    }

    /// Whether any member has a shadow.
    #[must_use]
    pub fn has_shadows(&self) -> bool {
        [&self.selection, &self.compression, &self.placement].into_iter().flatten().any(|one| one.shadow.is_some())
    }
}

/// A policy set in the making.
#[derive(Debug, Clone)]
pub struct PolicySetBuilder {
    set: PolicySet,
}

impl PolicySetBuilder {
    /// Other limits than [`Limits::DEFAULT`]; they hold for members added afterwards. Pages never have more items than
    /// the contract allows.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.set.limits = limits;
        self
    }

    /// Puts a member at the end of the chain of a kind. A plugin that serves several kinds is added to each chain it
    /// should stand in.
    ///
    /// # Errors
    /// [`PolicyError`] if the name is unusable or taken, the plugin does not serve the kind, it could be skipped where
    /// that is not allowed, its schema is unusable, or its settings are not valid under it.
    pub fn member(mut self, kind: PolicyKind, member: Member) -> Result<Self, PolicyError> {
        let limit = self.set.limits.chain_members;
        if self.set.chain(kind).len() >= limit {
            return Err(PolicyError::TooManyMembers { kind, limit });
        }
        if self.set.members(kind).any(|other| other.name == member.name) {
            let problem = "the chain has another member of that name".to_owned();
            return Err(PolicyError::BadMemberName { kind, member: member.name, problem });
        }
        let accepted = AcceptedMember::accept(kind, member, &self.set.limits)?;
        match kind {
            PolicyKind::Selection => self.set.selection.push(accepted),
            PolicyKind::Compression => self.set.compression.push(accepted),
            PolicyKind::Placement => self.set.placement.push(accepted),
        }
        Ok(self)
    }

    /// The finished set.
    ///
    /// # Errors
    /// [`PolicyError::EmptyChain`] if a kind has no member.
    pub fn build(self) -> Result<PolicySet, PolicyError> {
        for kind in PolicyKind::ALL {
            if self.set.chain(kind).is_empty() {
                return Err(PolicyError::EmptyChain { kind });
            }
        }
        Ok(self.set)
    }
}
