//! What the host sends is what a policy sees, field by field, and back. Every field has a value of its own, so that
//! two swapped ones are noticed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::rc::Rc;

use longshore_plugin::bindings::base::longshore::policy::types as wire;
use longshore_plugin::bindings::compression::exports::longshore::policy::compression as wire_compression;
use longshore_plugin::bindings::placement::exports::longshore::policy::placement as wire_placement;
use longshore_plugin::{
    About, Answer, ClassBytes, CodecChoice, CodecOffer, Collection, CompressionPolicy, FactValue, IndexFacts,
    LastBackup, LoadState, NO_SETTINGS, Placed, PlacementPolicy, Plugin, Reason, Refusal, Region, RegionCopy,
    RegionHealth, Run, RunKind, RunTrigger, Selected, SelectionPolicy, Stream, Totals, glue,
};

fn wire_run() -> wire::Run {
    wire::Run {
        kind: wire::RunKind::Collection,
        trigger: wire::RunTrigger::Automatic,
        cluster_id: "in01-1".into(),
        cluster_name: "one".into(),
        project_id: "proj-1".into(),
        home_region: "eu-1".into(),
        time_ms: 1,
        seed: 2,
        next_run_time_ms: Some(3),
        month_spend_micros: 4,
        month_budget_micros: Some(5),
        totals: wire::Totals { collections: 6, rows: 7, size_bytes: 8, new_bytes: 9 },
        settings: r#"{"a":1}"#.into(),
        carry: vec![10],
        page_number: 11,
        last_page: false,
        extra: wire_extra(),
    }
}

fn run() -> Run {
    Run {
        kind: RunKind::Collection,
        trigger: RunTrigger::Automatic,
        cluster_id: "in01-1".into(),
        cluster_name: "one".into(),
        project_id: "proj-1".into(),
        home_region: "eu-1".into(),
        time_ms: 1,
        seed: 2,
        next_run_time_ms: Some(3),
        month_spend_micros: 4,
        month_budget_micros: Some(5),
        totals: Totals { collections: 6, rows: 7, size_bytes: 8, new_bytes: 9 },
        settings_json: r#"{"a":1}"#.into(),
        carry: vec![10],
        page_number: 11,
        last_page: false,
        extra: extra(),
    }
}

fn wire_extra() -> wire::ExtraFacts {
    vec![
        ("flag".into(), wire::FactValue::Flag(true)),
        ("integer".into(), wire::FactValue::Integer(-1)),
        ("text".into(), wire::FactValue::Text("t".into())),
    ]
}

fn extra() -> longshore_plugin::ExtraFacts {
    vec![
        ("flag".into(), FactValue::Flag(true)),
        ("integer".into(), FactValue::Integer(-1)),
        ("text".into(), FactValue::Text("t".into())),
    ]
}

fn wire_collection() -> wire::Collection {
    wire::Collection {
        id: 1,
        database: "db".into(),
        name: "docs".into(),
        properties: vec![("p".into(), "1".into())],
        labels: vec![("l".into(), "2".into())],
        criticality: Some("high".into()),
        recovery_point_objective_seconds: Some(2),
        protected: true,
        requested: false,
        rows: 3,
        size_bytes: wire::ClassBytes { segment: 4, index: 5, delta: 6, wal: 7, metadata: 8 },
        new_bytes: 9,
        created_time_ms: Some(10),
        last_write_time_ms: Some(11),
        load_state: wire::LoadState::Loaded,
        indexes: vec![wire::IndexFacts { field_name: "f".into(), index_type: "i".into(), metric_type: "m".into() }],
        last_backup: Some(wire::LastBackup {
            backup_id: "backup0_1".into(),
            time_ms: 12,
            regions: vec!["r".into()],
            codecs: vec!["c".into()],
            stored_bytes: 13,
        }),
        consecutive_failures: 14,
        last_proven_restore_time_ms: Some(15),
        previous_reason_code: Some("code".into()),
        extra: wire_extra(),
    }
}

fn collection() -> Collection {
    Collection {
        id: 1,
        database: "db".into(),
        name: "docs".into(),
        properties: vec![("p".into(), "1".into())],
        labels: vec![("l".into(), "2".into())],
        criticality: Some("high".into()),
        recovery_point_objective_seconds: Some(2),
        protected: true,
        requested: false,
        rows: 3,
        size_bytes: ClassBytes { segment: 4, index: 5, delta: 6, wal: 7, metadata: 8 },
        new_bytes: 9,
        created_time_ms: Some(10),
        last_write_time_ms: Some(11),
        load_state: LoadState::Loaded,
        indexes: vec![IndexFacts { field_name: "f".into(), index_type: "i".into(), metric_type: "m".into() }],
        last_backup: Some(LastBackup {
            backup_id: "backup0_1".into(),
            time_ms: 12,
            regions: vec!["r".into()],
            codecs: vec!["c".into()],
            stored_bytes: 13,
        }),
        consecutive_failures: 14,
        last_proven_restore_time_ms: Some(15),
        previous_reason_code: Some("code".into()),
        extra: extra(),
    }
}

struct Echo;

fn reason() -> Reason {
    Reason::new("a-code", "A message.")
}

impl Plugin for Echo {
    fn about() -> About {
        About { name: "n", version: "v", author: "a", description: "d", settings_schema: NO_SETTINGS }
    }
}

impl SelectionPolicy for Echo {
    fn select(seen: &Run, page: &[Collection]) -> Result<Answer<Selected>, Refusal> {
        assert_eq!((seen, page), (&run(), [collection()].as_slice()));
        let selected =
            Selected { include_collection: true, include_index_files: false, priority: -3, reason: reason() };
        Ok(Answer::from_iter([(1, selected)]).with_carry([4]))
    }
}

impl CompressionPolicy for Echo {
    fn choose(seen: &Run, streams: &[Stream]) -> Result<Answer<CodecChoice>, Refusal> {
        let stream = Stream {
            id: 1,
            database: "db".into(),
            collection: "docs".into(),
            class: "wal".into(),
            files: 2,
            size_bytes: 3,
            new_bytes: 4,
            sampled_bytes: 5,
            offers: vec![CodecOffer {
                codec: "lz4".into(),
                ratio_thousandths: 6,
                compress_mb_per_second: 7,
                decompress_mb_per_second: 8,
            }],
            extra: extra(),
            collection_extra: Rc::new(vec![("collection-protected".into(), FactValue::Flag(true))]),
        };
        let second = Stream { id: 2, class: "segment".into(), offers: Vec::new(), ..stream.clone() };
        assert_eq!((seen, streams), (&run(), [stream, second].as_slice()));
        Ok(Answer::from_iter([(1, CodecChoice { codec: "lz4".into(), reason: reason() })]).with_carry([5]))
    }
}

impl PlacementPolicy for Echo {
    fn place(seen: &Run, collections: &[Collection], regions: &[Region]) -> Result<Answer<Placed>, Refusal> {
        let region = Region {
            id: "eu-1".into(),
            provider: "p".into(),
            jurisdiction: "eu".into(),
            home: true,
            storage_price_micros_per_gb_month: 1,
            transfer_price_micros_per_gb: 2,
            health: RegionHealth::Degraded,
            used_bytes: 3,
            extra: extra(),
        };
        assert_eq!((seen, collections, regions), (&run(), [collection()].as_slice(), [region].as_slice()));
        let copies = vec![RegionCopy { region: "eu-2".into(), retention_days: Some(6) }];
        let placed = Placed { region: "eu-1".into(), copies, retention_days: Some(7), reason: reason() };
        Ok(Answer::from_iter([(1, placed)]).with_carry([8]))
    }
}

struct Refuses;

impl SelectionPolicy for Refuses {
    fn select(_run: &Run, _page: &[Collection]) -> Result<Answer<Selected>, Refusal> {
        Err(Refusal::new("no", "Not now.").about([3, 4]))
    }
}

#[test]
fn about_arrives_word_for_word() {
    let info = glue::describe::<Echo>();
    assert_eq!(
        [info.name, info.version, info.author, info.description, info.settings_schema],
        ["n", "v", "a", "d", NO_SETTINGS]
    );
}

#[test]
fn a_selection_call_arrives_field_by_field() {
    let answer = glue::select::<Echo>(wire_run(), vec![wire_collection()]).unwrap();
    let (id, selected) = &answer.decisions[0];
    assert_eq!((*id, answer.carry.as_slice()), (1, [4].as_slice()));
    assert_eq!((selected.include_collection, selected.include_index_files, selected.priority), (true, false, -3));
    assert_eq!((selected.reason.code.as_str(), selected.reason.message.as_str()), ("a-code", "A message."));
}

#[test]
fn a_compression_call_arrives_field_by_field() {
    let stream = |id, class: &str, offers| wire_compression::Stream {
        id,
        class: class.into(),
        files: 2,
        size_bytes: 3,
        new_bytes: 4,
        sampled_bytes: 5,
        offers,
        extra: wire_extra(),
    };
    let codec = |name: &str, speed| wire_compression::Codec {
        name: name.into(),
        compress_mb_per_second: speed,
        decompress_mb_per_second: speed + 1,
    };
    let offer = wire_compression::CodecOffer { codec: 1, ratio_thousandths: 6 };
    let collection = wire_compression::CollectionStreams {
        database: "db".into(),
        name: "docs".into(),
        streams: vec![stream(1, "wal", vec![offer]), stream(2, "segment", Vec::new())],
        extra: vec![("collection-protected".into(), wire::FactValue::Flag(true))],
    };
    let codecs = vec![codec("store", 1), codec("lz4", 7)];
    let answer = glue::choose::<Echo>(wire_run(), codecs, vec![collection]).unwrap();
    let (id, choice) = &answer.decisions[0];
    assert_eq!((*id, answer.carry.as_slice()), (1, [5].as_slice()));
    assert_eq!((choice.codec.as_str(), choice.reason.code.as_str()), ("lz4", "a-code"));
}

#[test]
fn a_placement_call_arrives_field_by_field() {
    let region = wire_placement::Region {
        id: "eu-1".into(),
        provider: "p".into(),
        jurisdiction: "eu".into(),
        home: true,
        storage_price_micros_per_gb_month: 1,
        transfer_price_micros_per_gb: 2,
        health: wire_placement::RegionHealth::Degraded,
        used_bytes: 3,
        extra: wire_extra(),
    };
    let answer = glue::place::<Echo>(wire_run(), vec![wire_collection()], vec![region]).unwrap();
    let (id, placed) = &answer.decisions[0];
    assert_eq!((*id, answer.carry.as_slice()), (1, [8].as_slice()));
    assert_eq!(
        (placed.region.as_str(), placed.retention_days, placed.reason.code.as_str()),
        ("eu-1", Some(7), "a-code")
    );
    assert_eq!((placed.copies[0].region.as_str(), placed.copies[0].retention_days), ("eu-2", Some(6)));
}

#[test]
fn a_refusal_arrives_with_its_items() {
    let refusal = glue::select::<Refuses>(wire_run(), Vec::new()).unwrap_err();
    assert_eq!((refusal.reason.code.as_str(), refusal.reason.message.as_str()), ("no", "Not now."));
    assert_eq!(refusal.items, [3, 4]);
}
