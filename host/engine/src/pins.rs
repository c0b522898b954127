//! Keeps the pins of a running job alive and gives them up at its end.

use std::time::Duration;

use longshore_model::RegionId;
use longshore_vault::Pin;

use crate::EngineError;

/// Refreshes pins for as long as the job runs; ends only with an error.
pub(crate) async fn keep_fresh(pins: &[(RegionId, Pin)]) -> EngineError {
    let every = u64::try_from(longshore_vault::Limits::DEFAULT.pin_refresh_ms).unwrap_or(u64::MAX);
    loop {
        tokio::time::sleep(Duration::from_millis(every)).await;
        for (region, pin) in pins {
            let record = pin.record();
            if let Err(error) = pin.refresh(record.relies_on, record.state).await {
                return EngineError::vault(region)(error);
            }
        }
    }
}

/// Gives pins up. One that cannot be removed lapses by itself; until then it only keeps bytes that could have gone.
pub(crate) async fn release(pins: Vec<(RegionId, Pin)>) {
    for (region, pin) in pins {
        if let Err(error) = pin.release().await {
            tracing::warn!(%region, %error, "a pin could not be released");
        }
    }
}
