//! Turns what SQLite says into [`CatalogError`].

use rusqlite::ErrorCode;

use crate::CatalogError;

/// What went wrong inside a transaction, before it is known which file it was about.
#[derive(Debug)]
pub(super) enum Fail {
    /// SQLite failed.
    Sql(rusqlite::Error),
    /// A rule of the catalog was broken.
    Rule(CatalogError),
    /// A row does not hold what it must.
    Row(String),
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<CatalogError> for Fail {
    fn from(error: CatalogError) -> Self {
        Self::Rule(error)
    }
}

impl Fail {
    /// The error for the caller, about the file `path`.
    pub(super) fn at(self, path: &str) -> CatalogError {
        let path = path.to_owned();
        let error = match self {
            Self::Rule(error) => return error,
            Self::Row(detail) => return CatalogError::Corrupt { path, detail },
            Self::Sql(error) => error,
        };
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => CatalogError::Corrupt { path, detail },
            Some(ErrorCode::DiskFull) => CatalogError::DiskFull { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => CatalogError::Busy { path },
            Some(ErrorCode::TypeMismatch) => CatalogError::Corrupt { path, detail },
            _ => match error {
                // The tables are STRICT, so a value of another type can only come from damage.
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..) => CatalogError::Corrupt { path, detail },
                _ => CatalogError::Unavailable { path, detail },
            },
        }
    }
}

/// True for a broken UNIQUE or PRIMARY KEY constraint.
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
    error
        .sqlite_error()
        .is_some_and(|code| [SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE].contains(&code.extended_code))
}
