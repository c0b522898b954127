//! What a call is, and what became of one.
//!
//! Contract: [`refused`] is the one place that knows both ways in which Milvus says "no" inside an answer, and the numbers
//! of both.

use prost::Message;

use super::proto::common::Status;

/// A request of Milvus' gRPC interface. Implemented for all of them by `build.rs`.
pub trait Rpc: Message + Clone + 'static {
    /// What comes back.
    type Answer: Message + Default + 'static;
    /// The name of the call, for people.
    const NAME: &'static str;
    /// Its path.
    const PATH: &'static str;
    /// Whether it may be made again when it is not known whether it arrived.
    const REPEATABLE: bool;
    /// The database that the request names; empty for the default one, and where it names none.
    fn database(&self) -> &str;
    /// What the server said became of it.
    fn status(answer: &Self::Answer) -> Option<&Status>;
}

/// Why a server did not do what it was asked, as far as it makes a difference here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such collection.
    CollectionNotFound,
    /// There is no such database.
    DatabaseNotFound,
    /// There is no index.
    IndexNotFound,
    /// Too many calls of this kind; nothing was done.
    RateLimited,
    /// The server is starting or stopping; nothing was done.
    NotReady,
    /// This server does not know the call.
    NotOffered,
    /// User, password or token are wrong.
    NotAuthenticated,
    /// The user may not do this.
    NotPermitted,
    /// Anything else.
    Other,
}

/// `None` when the call went well. Numbers: `pkg/util/merr/errors.go` of Milvus for `code` (2.3 and newer), `enum
/// ErrorCode` of milvus-proto for `error_code`.
pub(super) fn refused(status: &Status) -> Option<Refusal> {
    let by_code = match status.code {
        0 => None,
        1 | 2 => Some(Refusal::NotReady),
        8 => Some(Refusal::RateLimited),
        10 => Some(Refusal::NotOffered),
        100 => Some(Refusal::CollectionNotFound),
        700 => Some(Refusal::IndexNotFound),
        800 => Some(Refusal::DatabaseNotFound),
        1400 | 1800 => Some(Refusal::NotAuthenticated),
        1401 => Some(Refusal::NotPermitted),
        _ => Some(Refusal::Other),
    };
    let by_error_code = match status.error_code {
        0 => None,
        3 => Some(Refusal::NotPermitted),
        4 => Some(Refusal::CollectionNotFound),
        25 => Some(Refusal::IndexNotFound),
        49 => Some(Refusal::RateLimited),
        56 | 57 => Some(Refusal::NotReady),
        _ => Some(Refusal::Other),
    };
    match (by_code, by_error_code) {
        (None | Some(Refusal::Other), Some(old)) if old != Refusal::Other => Some(old),
        (None, old) => old,
        (new, _) => new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: i32, error_code: i32) -> Status {
        Status { code, error_code, ..Status::default() }
    }

    #[test]
    fn either_number_is_a_refusal() {
        assert_eq!(refused(&status(0, 0)), None);
        assert_eq!(refused(&status(0, 1)), Some(Refusal::Other));
        assert_eq!(refused(&status(65535, 0)), Some(Refusal::Other));
        assert_eq!(refused(&status(0, 49)), Some(Refusal::RateLimited));
        assert_eq!(refused(&status(65535, 4)), Some(Refusal::CollectionNotFound));
        // As measured on 2.3.5: `UnexpectedError` beside the number that says it.
        assert_eq!(refused(&status(100, 1)), Some(Refusal::CollectionNotFound));
    }
}
