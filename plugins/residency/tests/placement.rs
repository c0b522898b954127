//! Where residency puts collections, and what it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::{Answer, Collection, Placed, PlacementPolicy, Refusal, Region, RegionHealth, Run};
use longshore_residency::{DATA_REGION, Residency};
use proptest::prelude::*;

fn region(id: &str, jurisdiction: &str, price: u64) -> Region {
    Region {
        id: id.to_owned(),
        jurisdiction: jurisdiction.to_owned(),
        storage_price_micros_per_gb_month: price,
        ..Region::default()
    }
}

/// The home region is in the US and dearer than its neighbour; two regions are in the EU.
fn regions() -> Vec<Region> {
    vec![
        Region { home: true, ..region("us-1", "us", 30) },
        region("us-2", "us", 20),
        region("eu-2", "eu", 25),
        region("eu-1", "EU", 25),
    ]
}

fn with_property(id: u32, name: &str, value: &str) -> Collection {
    let properties = vec![(DATA_REGION.to_owned(), value.to_owned())];
    Collection { properties, ..Collection::named(id, "default", name) }
}

fn with_label(id: u32, name: &str, value: &str) -> Collection {
    let labels = vec![(DATA_REGION.to_owned(), value.to_owned())];
    Collection { labels, ..Collection::named(id, "default", name) }
}

fn place_all(settings: &str, page: &[Collection], regions: &[Region]) -> Result<Answer<Placed>, Refusal> {
    Residency::place(&Run::default().with_settings(settings), page, regions)
}

fn place(settings: &str, collection: Collection, regions: &[Region]) -> Result<Placed, Refusal> {
    place_all(settings, &[collection], regions).map(|mut answer| answer.decisions.remove(0).1)
}

#[test]
fn the_property_decides_and_home_wins_where_it_fits() {
    let placed = place("{}", with_property(0, "docs", "us"), &regions()).unwrap();
    assert_eq!(placed.region, "us-1");
    assert!(placed.copies.is_empty());
    assert_eq!(placed.reason.code, "jurisdiction");
    assert_eq!(placed.reason.message, "The collection must stay in us; us-1 is the home region.");
}

#[test]
fn away_from_home_the_cheapest_region_is_taken_and_the_id_decides_between_equals() {
    let placed = place("{}", with_property(0, "docs", "eu"), &regions()).unwrap();
    assert_eq!(placed.region, "eu-1");
    assert_eq!(placed.reason.message, "The collection must stay in eu; eu-1 is the best region there.");
    let mut cheaper = regions();
    cheaper[2].storage_price_micros_per_gb_month = 24;
    assert_eq!(place("{}", with_property(0, "docs", "eu"), &cheaper).unwrap().region, "eu-2");
    let mut nearer = regions();
    nearer[3].transfer_price_micros_per_gb = 1;
    assert_eq!(place("{}", with_property(0, "docs", "eu"), &nearer).unwrap().region, "eu-2");
}

#[test]
fn case_and_spaces_around_a_jurisdiction_do_not_matter() {
    assert_eq!(place("{}", with_property(0, "docs", " Eu\t"), &regions()).unwrap().region, "eu-1");
    assert_eq!(place(r#"{"default_jurisdiction": "EU "}"#, Collection::default(), &regions()).unwrap().region, "eu-1");
}

#[test]
fn a_label_stands_in_for_the_property_and_the_property_wins_over_the_label() {
    assert_eq!(place("{}", with_label(0, "docs", "eu"), &regions()).unwrap().region, "eu-1");
    let both = Collection { labels: vec![(DATA_REGION.into(), "eu".into())], ..with_property(0, "docs", "us") };
    assert_eq!(place("{}", both, &regions()).unwrap().region, "us-1");
}

#[test]
fn a_collection_that_names_no_jurisdiction_is_left_to_the_next_policy_unless_there_is_a_default() {
    let page = [Collection::named(0, "default", "docs"), with_property(1, "cases", "eu")];
    let answer = place_all("{}", &page, &regions()).unwrap();
    assert_eq!(answer.decisions.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1]);
    let answer = place_all(r#"{"default_jurisdiction": "us"}"#, &page, &regions()).unwrap();
    assert_eq!(answer.get(0).unwrap().region, "us-1");
    assert_eq!(answer.get(1).unwrap().region, "eu-1", "the property wins over the default");
}

#[test]
fn a_jurisdiction_without_a_region_is_refused_with_names() {
    let page = [
        with_property(8, "notes", "jp"),
        with_property(3, "cases", "jp"),
        with_property(5, "docs", "eu"),
        Collection::named(6, "default", "free"),
    ];
    let refusal = place_all("{}", &page, &regions()).unwrap_err();
    assert_eq!(refusal.reason.code, "no-region-allowed");
    assert_eq!(refusal.items, [3, 8]);
    assert_eq!(
        refusal.reason.message,
        "default.cases (and 1 more) must stay in jp, but no region on offer is there. On offer: eu-1 (eu), eu-2 (eu), \
         us-1 (us), us-2 (us). Add a region of that jurisdiction to the project, or correct data.region."
    );
}

#[test]
fn a_region_without_a_jurisdiction_fits_no_collection() {
    let unknown = [Region { home: true, ..region("x-1", "", 1) }];
    let refusal = place("{}", with_property(0, "docs", "eu"), &unknown).unwrap_err();
    assert_eq!(refusal.reason.code, "no-region-allowed");
    assert!(refusal.reason.message.contains("x-1 (no jurisdiction)"), "{}", refusal.reason.message);
    let refusal = place("{}", with_property(0, "docs", "eu"), &[]).unwrap_err();
    assert!(refusal.reason.message.contains("On offer: none."), "{}", refusal.reason.message);
}

#[test]
fn an_empty_property_is_refused_and_never_taken_for_none() {
    for value in ["", "  "] {
        // Neither the default nor a region without jurisdiction may take it.
        let mut offered = regions();
        offered.push(region("x-1", "", 1));
        let refusal =
            place(r#"{"default_jurisdiction": "us"}"#, with_property(4, "docs", value), &offered).unwrap_err();
        assert_eq!(refusal.reason.code, "empty-data-region");
        assert_eq!(refusal.items, [4]);
        assert!(refusal.reason.message.starts_with("default.docs: data.region is there but empty"));
    }
}

#[test]
fn sick_regions_come_last_and_unreachable_ones_not_at_all() {
    let mut offered = regions();
    offered[0].health = RegionHealth::Degraded;
    assert_eq!(place("{}", with_property(0, "docs", "us"), &offered).unwrap().region, "us-2");
    offered[1].health = RegionHealth::Unreachable;
    assert_eq!(place("{}", with_property(0, "docs", "us"), &offered).unwrap().region, "us-1");
    offered[0].health = RegionHealth::Unreachable;
    let refusal = place("{}", with_property(7, "docs", "us"), &offered).unwrap_err();
    assert_eq!(refusal.reason.code, "no-region-reachable");
    assert_eq!(refusal.items, [7]);
    assert!(refusal.reason.message.contains("us-1, us-2") || refusal.reason.message.contains("us-2, us-1"));
}

#[test]
fn a_copy_goes_to_a_second_region_of_the_same_jurisdiction() {
    let settings = r#"{"second_region": true, "second_region_retention_days": 90, "retention_days": 14}"#;
    let placed = place(settings, with_property(0, "docs", "us"), &regions()).unwrap();
    assert_eq!((placed.region.as_str(), placed.retention_days), ("us-1", Some(14)));
    assert_eq!(placed.copies.len(), 1);
    assert_eq!((placed.copies[0].region.as_str(), placed.copies[0].retention_days), ("us-2", Some(90)));
}

#[test]
fn without_a_second_region_the_settings_say_whether_to_refuse_or_to_go_on() {
    let mut offered = regions();
    offered[1].health = RegionHealth::Unreachable;
    let placed = place(r#"{"second_region": true}"#, with_property(0, "docs", "us"), &offered).unwrap();
    assert_eq!((placed.region.as_str(), placed.copies.len()), ("us-1", 0));
    assert_eq!(placed.reason.code, "no-second-region");
    assert!(placed.reason.message.contains("gets no second copy"), "{}", placed.reason.message);
    let required = r#"{"second_region": true, "second_region_required": true}"#;
    let refusal = place(required, with_property(9, "docs", "us"), &offered).unwrap_err();
    assert_eq!(refusal.reason.code, "no-second-region");
    assert_eq!(refusal.items, [9]);
    assert!(refusal.reason.message.contains("default.docs must have a copy in a second region of us"));
    assert_eq!(place(required, with_property(0, "docs", "us"), &regions()).unwrap().copies[0].region, "us-2");
}

#[test]
fn a_message_stays_within_the_contract_whatever_the_names() {
    let offered: Vec<Region> = (0..500).map(|n| region(&format!("region-with-a-long-name-{n}"), "eu", 1)).collect();
    let page = [with_property(0, &"n".repeat(255), &"中".repeat(70_000))];
    let refusal = place_all("{}", &page, &offered).unwrap_err();
    assert_eq!(refusal.reason.code, "no-region-allowed");
    assert!(refusal.reason.message.len() <= 512);
}

fn any_region() -> impl Strategy<Value = Region> {
    let health = prop_oneof![
        3 => Just(RegionHealth::Healthy),
        1 => Just(RegionHealth::Degraded),
        1 => Just(RegionHealth::Unreachable),
    ];
    (prop_oneof!["eu", "us", "EU", ""], 0..3_u64, 0..3_u64, any::<bool>(), health).prop_map(
        |(jurisdiction, storage, transfer, home, health)| Region {
            storage_price_micros_per_gb_month: storage,
            transfer_price_micros_per_gb: transfer,
            home,
            health,
            ..region("", &jurisdiction, 0)
        },
    )
}

fn any_page() -> impl Strategy<Value = Vec<Collection>> {
    let value = prop_oneof![Just(None), Just(Some("eu")), Just(Some("us")), Just(Some("jp")), Just(Some(""))];
    proptest::collection::vec((value, any::<bool>()), 0..8).prop_map(|members| {
        let numbered = members.into_iter().enumerate();
        numbered
            .map(|(id, (value, label))| {
                let (id, name) = (id as u32, format!("c{id}"));
                match value {
                    None => Collection::named(id, "default", name),
                    Some(value) if label => with_label(id, &name, value),
                    Some(value) => with_property(id, &name, value),
                }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn nothing_ever_leaves_its_jurisdiction_and_no_order_matters(
        page in any_page(),
        offered in proptest::collection::vec(any_region(), 0..6),
        second in any::<bool>(),
        required in any::<bool>(),
        turn in 0..8_usize,
    ) {
        let mut offered = offered;
        for (number, region) in offered.iter_mut().enumerate() {
            region.id = format!("r{number}");
        }
        let settings = format!(r#"{{"second_region": {second}, "second_region_required": {required}}}"#);
        let answer = place_all(&settings, &page, &offered);

        let (mut other_page, mut other_offered) = (page.clone(), offered.clone());
        other_page.rotate_left(turn % page.len().max(1));
        other_offered.reverse();
        match (&answer, place_all(&settings, &other_page, &other_offered)) {
            (Ok(answer), Ok(other)) => {
                for collection in &page {
                    prop_assert_eq!(answer.get(collection.id), other.get(collection.id));
                }
            }
            (Err(refusal), Err(other)) => prop_assert_eq!(refusal, &other),
            _ => prop_assert!(false, "one order is refused, the other is not"),
        }

        if let Ok(answer) = answer {
            for collection in &page {
                let wanted = collection.property_or_label(DATA_REGION);
                let placed = answer.get(collection.id);
                prop_assert_eq!(wanted.is_some(), placed.is_some());
                let Some(placed) = placed else { continue };
                for id in std::iter::once(&placed.region).chain(placed.copies.iter().map(|copy| &copy.region)) {
                    let region = offered.iter().find(|region| region.id == *id).unwrap();
                    prop_assert_eq!(region.jurisdiction.to_lowercase(), wanted.unwrap());
                    prop_assert_ne!(region.health, RegionHealth::Unreachable);
                }
                prop_assert!(placed.copies.iter().all(|copy| copy.region != placed.region));
                prop_assert!(placed.copies.len() <= usize::from(second));
                prop_assert!(!(second && required) || placed.copies.len() == 1);
            }
        }
    }
}
