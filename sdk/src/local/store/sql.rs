//! The statements, one text a table and kind, so that a prepared one is found by its text.

use std::ops::Bound;

use super::{Scan, Table};

/// For each table its name and its statements.
macro_rules! tables {
    ($($table:ident $name:literal)*) => {
        impl Table {
            pub(crate) const ALL: [Self; 11] = [$(Self::$table),*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$table => $name,)* }
            }

            /// `c` is the checksum of key and value: the database has none of its own.
            pub(super) fn create(self) -> &'static str {
                match self { $(Self::$table => concat!(
                    "CREATE TABLE IF NOT EXISTS ", $name,
                    " (k BLOB PRIMARY KEY, c INTEGER NOT NULL, v BLOB NOT NULL) STRICT, WITHOUT ROWID"
                ),)* }
            }

            pub(super) fn put(self) -> &'static str {
                match self { $(Self::$table => concat!(
                    "INSERT OR REPLACE INTO ", $name, " (k, c, v) VALUES (?1, ?2, ?3)"
                ),)* }
            }

            pub(super) fn delete(self) -> &'static str {
                match self { $(Self::$table => concat!("DELETE FROM ", $name, " WHERE k = ?1"),)* }
            }

            pub(super) fn delete_from(self) -> &'static str {
                match self { $(Self::$table => concat!("DELETE FROM ", $name, " WHERE k >= ?1"),)* }
            }

            pub(super) fn delete_range(self) -> &'static str {
                match self { $(Self::$table => concat!(
                    "DELETE FROM ", $name, " WHERE k >= ?1 AND k < ?2"
                ),)* }
            }

            pub(super) fn get(self) -> &'static str {
                match self { $(Self::$table => concat!("SELECT c, v FROM ", $name, " WHERE k = ?1"),)* }
            }
        }
    };
}

tables! {
    Invocations "invocations"
    Status "status"
    Records "records"
    State "state"
    Promises "promises"
    Ids "ids"
    Idempotency "idempotency"
    Runs "runs"
    Expiry "expiry"
    Offsets "offsets"
    Settings "settings"
}

/// The statement of a scan: `?1` is the limit, and the bounds follow, the lower one first.
pub(super) fn scan(table: Table, range: &Scan) -> String {
    let lower = match range.from {
        Bound::Included(_) => " AND k >= ?2",
        Bound::Excluded(_) => " AND k > ?2",
        Bound::Unbounded => "",
    };
    let upper = match range.to {
        Bound::Included(_) => " AND k <= ?3",
        Bound::Excluded(_) => " AND k < ?3",
        Bound::Unbounded => "",
    };
    let order = if range.reverse { "DESC" } else { "ASC" };
    format!(
        "SELECT k, c, v FROM {} WHERE TRUE{lower}{upper} ORDER BY k {order} LIMIT ?1",
        table.name()
    )
}
