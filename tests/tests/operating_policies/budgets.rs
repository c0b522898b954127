//! A plugin has the budget that its place in a chain gives it, and no other's.

use longshore_tests::{HostPlace, plugin};

use crate::{back_up, hostile, run};

#[test]
fn a_file_is_loaded_under_the_budget_of_its_member() {
    let place = HostPlace::new(&hostile("honest", ""));
    run(&place, &["serve", "--check"]).ok();
    place.write(&hostile("honest", "budget = { file_size_bytes = 1000 }"));
    run(&place, &["serve", "--check"]).refused(1, "file_size_bytes");
    place.write(&hostile("honest", "budget = { compile_time_ms = 300001 }"));
    run(&place, &["serve", "--check"]).refused(1, "300000");
}

#[tokio::test]
async fn a_candidate_has_a_budget_of_its_own() {
    let candidate = |budget: &str| {
        let file = plugin("hostile").display().to_string();
        let settings = "settings = { behaviour = \"loop\" }";
        format!(
            "[[policy.selection]]\nplugin = \"standard\"\nname = \"tiered\"\nbudget = {{ fuel = 900000000 }}\n\
             shadow = {{ plugin = '{file}', {settings}{budget} }}\n"
        )
    };
    // Its member's, where nothing is said.
    for (budget, limit) in [("", "900000000"), (", budget = { fuel = 23000000 }", "23000000")] {
        let place = HostPlace::new(&candidate(budget));
        let (server, client) = place.start();
        let (_, job) = back_up(&client).await;
        assert_eq!(job["status"], "SUCCESSFUL", "{job}");
        let status = run(&place, &["policy", "status", "--json"]).ok().json();
        let failure = status["members"][0]["shadow"]["record"]["lastFailure"].as_str().unwrap_or_default().to_owned();
        assert!(failure.replace(',', "").contains(limit), "{status}");
        server.stop();
    }
}

/// A file larger than a budget that nobody raised can be installed before a chain raises it.
#[test]
fn what_an_operator_allows_bounds_an_installation() {
    const MIB: usize = 1 << 20;
    let place = HostPlace::new("");
    let mut bytes = std::fs::read(plugin("residency")).unwrap();
    // A custom section: its id, its size in 128ths, its name, and bytes that mean nothing.
    let (mut left, size) = (33 * MIB, 33 * MIB);
    bytes.push(0);
    while left >= 0x80 {
        bytes.push(u8::try_from(left % 0x80).unwrap() | 0x80);
        left /= 0x80;
    }
    bytes.push(u8::try_from(left).unwrap());
    bytes.extend([1, b'x']);
    bytes.resize(bytes.len() + size - 2, 7);
    std::fs::write(place.path().join("large.wasm"), bytes).unwrap();
    run(&place, &["plugin", "install", "large.wasm"]).ok();
    place.write("[plugin_ceiling]\nfile_size_bytes = 1000000\n");
    run(&place, &["plugin", "install", "large.wasm", "--name", "again"]).refused(1, "file_size_bytes");
}
