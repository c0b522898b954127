//! Oracles and facts for the tests.

use std::sync::{Arc, Mutex};

use longshore_model::{
    CodecChoice, CodecOffer, CollectionFacts, CollectionName, Digest, FileClass, Placed, PolicyKind, Reason,
    RegionHealth, RegionOffer, RunFacts, RunKind, RunTrigger, Selected, StreamFacts, Timestamp, Totals,
};
use longshore_policy::{
    About, Budget, Call, Grants, Guardrails, Member, OnFailure, Oracle, Outcome, PolicySet, PolicySetBuilder,
    SandboxError,
};
use serde_json::json;

type Answer<T> = Result<Outcome<Vec<(u32, T)>>, SandboxError>;
type Asked<I, T> = Box<dyn Fn(&Call<'_>, &[I]) -> Answer<T> + Send + Sync>;
type Places = Box<dyn Fn(&Call<'_>, &[CollectionFacts], &[RegionOffer]) -> Answer<Placed> + Send + Sync>;

/// What an oracle was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) page_number: u32,
    pub(crate) last_page: bool,
    pub(crate) carry: Vec<u8>,
    pub(crate) settings: String,
    pub(crate) items: Vec<String>,
}

/// An oracle that answers by closures and remembers what it was asked.
pub(crate) struct Fake {
    pub(crate) about: About,
    pub(crate) digest: Digest,
    kinds: Vec<PolicyKind>,
    select: Asked<CollectionFacts, Selected>,
    choose: Asked<StreamFacts, CodecChoice>,
    place: Places,
    pub(crate) seen: Mutex<Vec<Seen>>,
}

impl Fake {
    /// No opinion about anything.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            about: About {
                name: name.to_owned(),
                version: "1.2.3".to_owned(),
                author: "the tests".to_owned(),
                description: "Says what a test wants.".to_owned(),
                settings_schema: "{}".to_owned(),
            },
            digest: Digest::new([u8::try_from(name.len()).unwrap(); 32]),
            kinds: PolicyKind::ALL.to_vec(),
            select: Box::new(|_, _| Ok(outcome(Vec::new()))),
            choose: Box::new(|_, _| Ok(outcome(Vec::new()))),
            place: Box::new(|_, _, _| Ok(outcome(Vec::new()))),
            seen: Mutex::new(Vec::new()),
        }
    }

    /// One that always has an opinion: everything in, the first codec, the first region.
    pub(crate) fn standard() -> Self {
        Self::new("standard")
            .select_each(|_| Some(selected(true, "all-in")))
            .choose_each(|stream| Some(codec(&stream.offers[0].codec.to_string(), "first-offer")))
            .place_each(|_, regions| Some(placed(regions[0].id.as_str(), &[], None)))
    }

    /// The same as another file.
    pub(crate) fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = digest;
        self
    }

    pub(crate) fn serving(mut self, kinds: &[PolicyKind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    pub(crate) fn schema(mut self, schema: impl ToString) -> Self {
        self.about.settings_schema = schema.to_string();
        self
    }

    pub(crate) fn select_pages(
        mut self,
        select: impl Fn(&Call<'_>, &[CollectionFacts]) -> Answer<Selected> + Send + Sync + 'static,
    ) -> Self {
        self.select = Box::new(select);
        self
    }

    pub(crate) fn select_each(
        self,
        select: impl Fn(&CollectionFacts) -> Option<Selected> + Send + Sync + 'static,
    ) -> Self {
        self.select_pages(move |_, page| Ok(outcome(each(page, &select))))
    }

    pub(crate) fn choose_each(
        mut self,
        choose: impl Fn(&StreamFacts) -> Option<CodecChoice> + Send + Sync + 'static,
    ) -> Self {
        self.choose = Box::new(move |_, page| Ok(outcome(each(page, &choose))));
        self
    }

    pub(crate) fn place_each(
        mut self,
        place: impl Fn(&CollectionFacts, &[RegionOffer]) -> Option<Placed> + Send + Sync + 'static,
    ) -> Self {
        self.place = Box::new(move |_, page, regions| Ok(outcome(each(page, &|item| place(item, regions)))));
        self
    }

    pub(crate) fn choose_pages(mut self, choose: impl Fn() -> Answer<CodecChoice> + Send + Sync + 'static) -> Self {
        self.choose = Box::new(move |_, _| choose());
        self
    }

    pub(crate) fn place_pages(mut self, place: impl Fn() -> Answer<Placed> + Send + Sync + 'static) -> Self {
        self.place = Box::new(move |_, _, _| place());
        self
    }

    fn see(&self, call: &Call<'_>, items: Vec<String>) {
        self.seen.lock().unwrap().push(Seen {
            page_number: call.page_number,
            last_page: call.last_page,
            carry: call.carry.to_vec(),
            settings: call.settings.to_owned(),
            items,
        });
    }
}

impl Oracle for Fake {
    fn digest(&self) -> Digest {
        self.digest
    }

    fn about(&self) -> &About {
        &self.about
    }

    fn serves(&self, kind: PolicyKind) -> bool {
        self.kinds.contains(&kind)
    }

    fn select(&self, call: &Call<'_>, page: &[CollectionFacts]) -> Answer<Selected> {
        self.see(call, page.iter().map(|item| item.name.to_string()).collect());
        (self.select)(call, page)
    }

    fn choose(&self, call: &Call<'_>, page: &[StreamFacts]) -> Answer<CodecChoice> {
        self.see(call, page.iter().map(|item| format!("{}/{}", item.collection, item.class)).collect());
        (self.choose)(call, page)
    }

    fn place(&self, call: &Call<'_>, page: &[CollectionFacts], regions: &[RegionOffer]) -> Answer<Placed> {
        self.see(call, page.iter().map(|item| item.name.to_string()).collect());
        (self.place)(call, page, regions)
    }
}

fn each<I, T>(page: &[I], answer: &dyn Fn(&I) -> Option<T>) -> Vec<(u32, T)> {
    (0_u32..).zip(page).filter_map(|(place, item)| Some((place, answer(item)?))).collect()
}

pub(crate) fn outcome<T>(answer: T) -> Outcome<T> {
    Outcome { answer, carry: Vec::new(), fuel_used: 100, peak_memory_bytes: 65_536, elapsed_us: 7, log: Vec::new() }
}

pub(crate) fn trapped() -> SandboxError {
    SandboxError::Trapped { plugin: "fake".to_owned(), what: "unreachable".to_owned(), log: Box::new([]) }
}

pub(crate) fn selected(include_collection: bool, code: &str) -> Selected {
    let reason = Reason::new(code, format!("Because of {code}."));
    Selected { include_collection, include_index_files: false, priority: 0, reason }
}

pub(crate) fn codec(codec: &str, code: &str) -> CodecChoice {
    CodecChoice { codec: codec.parse().unwrap(), reason: Reason::new(code, format!("Because of {code}.")) }
}

pub(crate) fn placed(region: &str, copies: &[(&str, Option<u32>)], retention_days: Option<u32>) -> Placed {
    let copies = copies.iter().map(|(region, retention_days)| longshore_model::Copy {
        region: region.parse().unwrap(),
        retention_days: *retention_days,
    });
    let reason = Reason::new("here", "It has to be somewhere.");
    Placed { region: region.parse().unwrap(), copies: copies.collect(), retention_days, reason }
}

pub(crate) fn collection(name: &str) -> CollectionFacts {
    CollectionFacts::named(name.parse::<CollectionName>().unwrap())
}

pub(crate) fn collections(names: &[&str]) -> Vec<CollectionFacts> {
    names.iter().map(|name| collection(name)).collect()
}

pub(crate) fn stream(collection: &str, class: FileClass, codecs: &[&str]) -> StreamFacts {
    let offers = codecs.iter().map(|codec| CodecOffer {
        codec: codec.parse().unwrap(),
        ratio_thousandths: 1_100,
        compress_mb_per_second: 500,
        decompress_mb_per_second: 1_500,
    });
    StreamFacts {
        collection: collection.parse().unwrap(),
        class,
        files: 1,
        size_bytes: 10,
        new_bytes: 10,
        sampled_bytes: 10,
        offers: offers.collect(),
        extra: Vec::new(),
    }
}

/// Regions `id` or `id/provider`; the part before the first hyphen is the jurisdiction, the first one is home.
pub(crate) fn regions(ids: &[&str]) -> Vec<RegionOffer> {
    let offers = ids.iter().enumerate().map(|(index, id)| {
        let (id, provider) = id.split_once('/').unwrap_or((id, "local"));
        RegionOffer {
            id: id.parse().unwrap(),
            provider: provider.to_owned(),
            jurisdiction: id.split('-').next().unwrap_or_default().to_owned(),
            home: index == 0,
            storage_price_micros_per_gb_month: 20_000,
            transfer_price_micros_per_gb: 10_000,
            health: RegionHealth::Healthy,
            used_bytes: 0,
            extra: Vec::new(),
        }
    });
    offers.collect()
}

pub(crate) fn run(kind: RunKind, trigger: RunTrigger) -> RunFacts {
    RunFacts {
        kind,
        trigger,
        cluster_id: "in01-abc".parse().unwrap(),
        cluster_name: "articles".to_owned(),
        project_id: "proj-abc".parse().unwrap(),
        home_region: "eu-1".parse().unwrap(),
        time: Timestamp::from_millis(1_722_358_190_000),
        seed: 42,
        next_run: None,
        month_spend_micros: 0,
        month_budget_micros: None,
        totals: Totals::default(),
        extra: Vec::new(),
    }
}

pub(crate) fn manual() -> RunFacts {
    run(RunKind::Cluster, RunTrigger::Manual)
}

pub(crate) fn automatic() -> RunFacts {
    run(RunKind::Cluster, RunTrigger::Automatic)
}

pub(crate) fn member(fake: &Arc<Fake>) -> Member {
    Member {
        name: fake.about.name.clone(),
        plugin: Arc::clone(fake) as Arc<dyn Oracle>,
        settings: json!({}),
        on_failure: OnFailure::Fail,
        required: false,
        budget: Budget::default(),
        grants: Grants::default(),
        shadow: None,
    }
}

/// A set in which the given members stand in every chain, in order.
pub(crate) fn builder(members: &[Member]) -> PolicySetBuilder {
    let mut builder = PolicySet::builder();
    for kind in PolicyKind::ALL {
        for member in members {
            builder = builder.member(kind, member.clone()).unwrap();
        }
    }
    builder
}

pub(crate) fn set(fakes: &[&Arc<Fake>]) -> PolicySet {
    builder(&fakes.iter().map(|fake| member(fake)).collect::<Vec<_>>()).build().unwrap()
}

pub(crate) fn no_guardrails() -> Guardrails {
    Guardrails::default()
}
