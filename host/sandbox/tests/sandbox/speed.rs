//! What calls cost on this machine: printed, never asserted.

use std::time::Instant;

use longshore_sandbox::{Budget, Sandbox, SandboxConfig};

use super::fixtures::{call, page, regions, run, sandbox, streams, wasm};

/// Best of several runs, in microseconds.
fn best(mut ask: impl FnMut() -> u64) -> u64 {
    (0..15).map(|_| ask()).min().unwrap_or(0)
}

#[test]
fn what_a_page_costs_is_printed() {
    let bytes = wasm("standard/standard");
    let started = Instant::now();
    let plugin = sandbox().load(&bytes, &Budget::default()).unwrap();
    eprintln!("load (check, compile, link, describe): {} ms", started.elapsed().as_millis());
    let folder = tempfile::tempdir().unwrap();
    let config = SandboxConfig { code_cache: Some(folder.path().join("code")), ..SandboxConfig::default() };
    let keeping = Sandbox::new(config).unwrap();
    keeping.load(&bytes, &Budget::default()).unwrap();
    let kept = best(|| {
        let started = Instant::now();
        keeping.load(&bytes, &Budget::default()).unwrap();
        u64::try_from(started.elapsed().as_micros()).unwrap()
    });
    let fresh = best(|| {
        let started = Instant::now();
        Sandbox::new(SandboxConfig::default()).unwrap();
        u64::try_from(started.elapsed().as_micros()).unwrap()
    });
    eprintln!("load from the cache of compiled plugins: {kept} µs; a new sandbox: {fresh} µs");
    let (run, budget) = (run(), Budget::default());
    let ask = call(&run, "{}", &budget);
    for items in [1_usize, 1_000] {
        let (page, streams, regions) = (page(items), streams(items), regions());
        let select = best(|| plugin.select(&ask, &page).unwrap().elapsed_us);
        let choose = best(|| plugin.choose(&ask, &streams).unwrap().elapsed_us);
        let place = best(|| plugin.place(&ask, &page, &regions).unwrap().elapsed_us);
        let fuel = plugin.select(&ask, &page).unwrap().fuel_used;
        eprintln!("standard, {items} items: select {select} µs ({fuel} fuel), choose {choose} µs, place {place} µs");
    }
}
