//! WASI 0.2 as a plugin sees it: complete enough for a standard library to start, deterministic, and shut.
//!
//! What a plugin gets, area by area: `clocks` the run's time and a virtual monotonic clock; `random` bytes made from
//! the run's seed; `cli` nothing but output into the log; `io` streams and polling that never wait in real time;
//! `filesystem` a read-only copy of the granted files, usually none; sockets are linked but shut: there is no socket to
//! begin with, so their functions cannot even be called. Nothing here touches the machine, and nothing needs or starts an
//! async runtime.

mod cli;
mod clocks;
mod filesystem;
mod io;
mod random;
mod sockets;

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::{self, sync};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtx, WasiSocketsCtxView};

pub(crate) use self::cli::Exited;
use self::clocks::Clocks;
pub(crate) use self::io::{Misused, WaitsForEver};
use self::random::Random;
pub(crate) use self::random::TooManyBytes;
use crate::log::GuestLog;
use crate::{GrantedFiles, Limits};

/// Interfaces of WASI that a plugin may import, without their version, which is 0.2 with any patch level.
pub(crate) const OFFERED: [&str; 27] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The surroundings of one call.
pub(crate) struct Wasi {
    clocks: Clocks,
    random: Random,
    insecure_random: Random,
    insecure_seed: (u64, u64),
    random_bytes: u64,
    log: GuestLog,
    files: GrantedFiles,
    sockets: WasiSocketsCtx,
}

impl Wasi {
    /// The surroundings of a call of a run with this time and seed, with these files to read.
    pub(crate) fn new(time_ms: u64, seed: u64, files: GrantedFiles, log: GuestLog, limits: &Limits) -> Self {
        let mut seeds = Random::new("longshore 2026 policy wasi:random/insecure-seed", seed);
        Self {
            clocks: Clocks::at(time_ms),
            random: Random::new("longshore 2026 policy wasi:random/random", seed),
            insecure_random: Random::new("longshore 2026 policy wasi:random/insecure", seed),
            insecure_seed: (seeds.next_u64(), seeds.next_u64()),
            random_bytes: limits.random_bytes,
            log,
            files,
            // Empty by default: no address, no name look-up, no socket.
            sockets: WasiSocketsCtx::default(),
        }
    }
}

/// The surroundings and the handles of one call, as host functions see them.
pub(crate) struct WasiView<'a> {
    /// The surroundings.
    pub(crate) wasi: &'a mut Wasi,
    /// The handles the plugin holds.
    pub(crate) table: &'a mut ResourceTable,
}

/// What a store must hold to be linked with this module.
pub(crate) trait HasWasi: Send + 'static {
    /// The surroundings and the handles.
    fn wasi(&mut self) -> WasiView<'_>;
}

/// Names [`WasiView`] as the data of host functions.
struct Area;

impl HasData for Area {
    type Data<'a> = WasiView<'a>;
}

/// Names the table alone as the data of host functions.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links every interface of [`OFFERED`].
pub(crate) fn add_to_linker<T: HasWasi>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    add_areas(linker)?;
    add_shut(linker)
}

/// Links what is made here.
fn add_areas<T: HasWasi>(l: &mut Linker<T>) -> wasmtime::Result<()> {
    use bindings::{cli, clocks, filesystem, random, sockets};
    wasmtime_wasi_io::bindings::wasi::io::error::add_to_linker::<T, Table>(l, |t| t.wasi().table)?;
    sync::io::poll::add_to_linker::<T, Area>(l, T::wasi)?;
    sync::io::streams::add_to_linker::<T, Area>(l, T::wasi)?;
    clocks::wall_clock::add_to_linker::<T, Area>(l, T::wasi)?;
    clocks::monotonic_clock::add_to_linker::<T, Area>(l, T::wasi)?;
    random::random::add_to_linker::<T, Area>(l, T::wasi)?;
    random::insecure::add_to_linker::<T, Area>(l, T::wasi)?;
    random::insecure_seed::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::exit::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::environment::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::stdin::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::stdout::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::stderr::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::terminal_input::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::terminal_output::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::terminal_stdin::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::terminal_stdout::add_to_linker::<T, Area>(l, T::wasi)?;
    cli::terminal_stderr::add_to_linker::<T, Area>(l, T::wasi)?;
    filesystem::preopens::add_to_linker::<T, Area>(l, T::wasi)?;
    sync::filesystem::types::add_to_linker::<T, Area>(l, T::wasi)?;
    sockets::tcp_create_socket::add_to_linker::<T, Area>(l, T::wasi)?;
    sync::sockets::udp_create_socket::add_to_linker::<T, Area>(l, T::wasi)
}

/// Links what exists only so that programs link: without a socket none of it can be called, but for looking up a name,
/// which is refused.
fn add_shut<T: HasWasi>(l: &mut Linker<T>) -> wasmtime::Result<()> {
    fn network<T: HasWasi>(t: &mut T) -> WasiSocketsCtxView<'_> {
        let WasiView { wasi, table } = t.wasi();
        WasiSocketsCtxView { ctx: &mut wasi.sockets, table }
    }
    use bindings::sockets;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<T, WasiSockets>(l, &options, network::<T>)?;
    sockets::instance_network::add_to_linker::<T, WasiSockets>(l, network::<T>)?;
    sockets::ip_name_lookup::add_to_linker::<T, WasiSockets>(l, network::<T>)?;
    sync::sockets::tcp::add_to_linker::<T, WasiSockets>(l, network::<T>)?;
    sync::sockets::udp::add_to_linker::<T, WasiSockets>(l, network::<T>)
}

#[cfg(test)]
mod tests;
