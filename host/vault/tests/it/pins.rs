//! A job without a living pin commits nothing.

use std::sync::{Arc, Mutex};

use longshore_model::{Clock, Codec, Timestamp};
use longshore_vault::*;
use object_store::ObjectStoreExt;
use serde_json::json;

use crate::support::*;

struct Moved(Mutex<Timestamp>);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

impl Moved {
    fn later(&self, millis: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.plus_millis(millis);
    }
}

fn movable() -> Arc<Moved> {
    Arc::new(Moved(Mutex::new(Timestamp::from_millis(NOW))))
}

#[tokio::test]
async fn a_pin_keeps_what_the_job_says_and_is_gone_when_released() {
    let vault = new_vault(memory()).await;
    let clock = movable();
    let pin = vault.pin(request(1), clock.clone()).await.unwrap();
    clock.later(1_000);
    let relies_on = ReliesOn { backups: vec![backup_id(1)], ..ReliesOn::default() };
    pin.refresh(relies_on.clone(), json!({"done": 3})).await.unwrap();
    let pins = vault.list_pins().await.unwrap();
    assert_eq!(pins, [pin.record()]);
    assert_eq!((&pins[0].relies_on, &pins[0].state), (&relies_on, &json!({"done": 3})));
    assert_eq!(pins[0].refreshed.millis_since(pins[0].started), 1_000);
    pin.release().await.unwrap();
    assert!(vault.list_pins().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_whose_pin_was_removed_writes_no_part_and_no_root() {
    let store = memory();
    let vault = new_vault(store.clone()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let part = write_part(&vault, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    for key in keys(&store, "pins").await {
        store.delete(&key).await.unwrap();
    }
    let root = root_of(&backup_id(1), 1, &[&part.reference]);
    assert!(matches!(vault.commit_root(&root, &pin).await, Err(VaultError::PinLapsed { .. })));
    let created = Timestamp::from_millis(NOW);
    let draft = PartDraft {
        home_vault_id: None,
        backup_id: backup_id(2),
        token: 1,
        created,
        collections: Vec::new(),
        sealed: Sealed::Readable(PartSealed::default()),
    };
    assert!(matches!(session.finish(draft).await, Err(VaultError::PinLapsed { .. })));
    assert!(matches!(vault.begin(&pin, SessionOptions::default()).await, Err(VaultError::PinLapsed { .. })));
    assert!(matches!(pin.refresh(ReliesOn::default(), json!(0)).await, Err(VaultError::PinLapsed { .. })));
    assert!(keys(&store, "pins").await.is_empty(), "a lapsed pin is not revived");
    assert_eq!(keys(&store, "parts").await.len(), 1);
    assert!(listed(&vault).await.is_empty());
}

#[tokio::test]
async fn a_pin_lapses_with_time_and_lives_on_when_refreshed() {
    let vault = new_vault(memory()).await;
    let clock = movable();
    let pin = vault.pin(request(1), clock.clone()).await.unwrap();
    for _ in 0..3 {
        clock.later(Limits::DEFAULT.pin_lapse_ms - 1);
        pin.refresh(ReliesOn::default(), json!(null)).await.unwrap();
    }
    clock.later(Limits::DEFAULT.pin_lapse_ms + 1);
    let error = vault.begin(&pin, SessionOptions::default()).await.unwrap_err();
    assert!(matches!(&error, VaultError::PinLapsed { reason, .. } if reason.contains("minutes ago")), "{error}");
}

#[tokio::test]
async fn a_resume_state_beyond_the_limit_is_refused_before_it_is_written() {
    let vault = new_vault(memory()).await.with_limits(Limits { pin_bytes: 2_000, ..Limits::DEFAULT });
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let error = pin.refresh(ReliesOn::default(), json!("x".repeat(2_000))).await.unwrap_err();
    assert!(matches!(error, VaultError::TooLarge { .. }), "{error}");
    assert_eq!(vault.list_pins().await.unwrap()[0].state, json!(null));
}
