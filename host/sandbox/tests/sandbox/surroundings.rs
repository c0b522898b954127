//! What a plugin finds around it: nothing.

use std::time::{Duration, Instant};

use super::fixtures::{messages, select};

#[test]
fn there_is_no_file() {
    let outcome = select("read-file").unwrap();
    let said = messages(&outcome.log).join("\n");
    assert!(said.contains("root=error") && said.contains("passwd=error") && said.contains("write=error"), "{said}");
    assert!(!std::path::Path::new("longshore-was-here").exists());
}

#[test]
fn there_is_no_network() {
    let said = select("network").unwrap();
    assert!(messages(&said.log).join("\n").contains("connection=error"), "{:?}", said.log);
}

#[test]
fn a_sleep_of_an_hour_takes_no_time() {
    let started = Instant::now();
    let outcome = select("sleep").unwrap();
    assert_eq!(outcome.answer.first().unwrap().1.reason.message, "It slept.");
    // Not a measurement: an hour of real sleep, or one cut by the wall time of five seconds, would be an error above.
    assert!(started.elapsed() < Duration::from_secs(3_600));
}
