//! To come.

use crate::exchange::Http;
use crate::table::Suite;

pub(crate) fn cases(_suite: &mut Suite<Http>) {}
