//! Opens the file: refuses what is not a catalog, brings older versions up to date.
//!
//! Order matters: the file is looked at before anything is written, so that a file of another program or of a newer
//! version stays as it is.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fail::Fail;
use crate::{CatalogError, Limits};

/// Marks a SQLite file as a Longshore catalog: `LSCT`.
const APPLICATION_ID: i64 = 0x4C53_4354;

/// `MIGRATIONS[n]` turns version n into version n + 1. Only ever appended to.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];

/// Newest version this program knows.
#[allow(clippy::cast_possible_wrap)] // a handful of migrations
const SUPPORTED: i64 = MIGRATIONS.len() as i64;

/// Opens or creates the file and returns the connection that writes.
pub(super) fn writer(path: &Path, name: &str, limits: &Limits) -> Result<Connection, CatalogError> {
    create_private(path)
        .map_err(|error| CatalogError::Unavailable { path: name.to_owned(), detail: error.to_string() })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> Result<Connection, Fail> {
        let mut connection = Connection::open_with_flags(path, flags)?;
        configure(&connection, limits)?;
        identify(&connection, name)?;
        // Only now is it sure that the file is ours to change.
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            let detail = "its file system does not support SQLite's write-ahead log; put it on a local disk".to_owned();
            return Err(CatalogError::Unavailable { path: name.to_owned(), detail }.into());
        }
        migrate(&mut connection, name)?;
        check(&connection)?;
        Ok(connection)
    };
    open().map_err(|fail| fail.at(name))
}

/// Opens a second connection that only reads, so that readers do not wait for a commit to reach the disk.
pub(super) fn reader(path: &Path, name: &str, limits: &Limits) -> Result<Connection, CatalogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> Result<Connection, Fail> {
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection, limits)?;
        // Not opened read-only: a reader of a write-ahead log may have to write its shared index.
        connection.execute_batch("PRAGMA query_only = ON")?;
        Ok(connection)
    };
    open().map_err(|fail| fail.at(name))
}

/// Copies all of the database at `path` into the new file `to`, as it is at one moment. A connection of its own: neither
/// the one that reads nor the one that writes has to wait for it.
pub(super) fn copy(path: &Path, name: &str, to: &Path, limits: &Limits) -> Result<(), CatalogError> {
    let (target, shown) = (to.to_str(), to.display().to_string());
    let unavailable = |detail: String| CatalogError::Unavailable { path: shown.clone(), detail };
    let target = target.ok_or_else(|| unavailable("its name is not UTF-8".to_owned()))?;
    if to.exists() {
        return Err(unavailable("it exists already".to_owned()));
    }
    // SQLite would make a file that others can read; it takes an empty one as well.
    create_private(to).map_err(|error| unavailable(error.to_string()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> Result<(), Fail> {
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection, limits)?;
        connection.execute("VACUUM INTO ?1", [target])?;
        Ok(())
    };
    open().map_err(|fail| fail.at(name))
}

/// Creates an empty file readable by its owner alone (it will hold key hashes); SQLite gives its companions the same
/// mode. A file that exists is left as it is.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(file) => {
            file.sync_all()?;
            // The name has to survive a power cut as well as the content.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            std::fs::File::open(parent)?.sync_all()
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn configure(connection: &Connection, limits: &Limits) -> Result<(), Fail> {
    connection.busy_timeout(Duration::from_millis(limits.busy_timeout_ms))?;
    connection.set_prepared_statement_cache_capacity(limits.cached_statements);
    // FULL: in WAL mode, NORMAL may lose the last commits at a power cut. trusted_schema OFF: a schema that somebody
    // tampered with cannot call functions.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF")?;
    Ok(())
}

fn pragma(connection: &Connection, sql: &str) -> Result<i64, Fail> {
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// Refuses a file that is another program's or a newer version's.
fn identify(connection: &Connection, name: &str) -> Result<(), Fail> {
    let application = pragma(connection, "PRAGMA application_id")?;
    let version = pragma(connection, "PRAGMA user_version")?;
    let objects = pragma(connection, "SELECT count(*) FROM sqlite_schema")?;
    if application != APPLICATION_ID && (application != 0 || version != 0 || objects != 0) {
        return Err(CatalogError::NotACatalog { path: name.to_owned() }.into());
    }
    if version > SUPPORTED {
        return Err(CatalogError::TooNew { path: name.to_owned(), found: version, supported: SUPPORTED }.into());
    }
    Ok(())
}

/// Brings the schema up to date, one transaction per version: a crash leaves a version that is whole.
fn migrate(connection: &mut Connection, name: &str) -> Result<(), Fail> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Asked inside the transaction: another process may be doing the same.
        identify(&transaction, name)?;
        let version = pragma(&transaction, "PRAGMA user_version")?;
        let Some(migration) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version)) else {
            return Ok(());
        };
        transaction.execute_batch(migration)?;
        transaction.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}",
            version + 1
        ))?;
        transaction.commit()?;
        tracing::info!(catalog = name, version = version + 1, "catalog schema written");
    }
}

/// Looks through all pages once: damage is better found at the start than in the middle of a backup.
fn check(connection: &Connection) -> Result<(), Fail> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Fail::Row(verdict)) }
}
